"""The layers of a job's network as rows of a table."""

from typing import Any

from worker.records.tables import Job


def layer_rows(job: Job) -> list[dict[str, Any]]:
    """Return the layers in order, the output layer last, each with the detail that its type has."""
    rows = [row | {"detail": row["activation"]} for row in job.layers]
    for row, layer in zip(rows, job.spec["network"]["layers"], strict=False):
        row["detail"] = _detail(layer) or row["activation"]
    if rows:
        rows[-1]["type"] = "output"
    return rows


def _detail(layer: dict[str, Any]) -> str | None:
    match layer["type"]:
        case "dropout":
            return f"rate {layer['rate']:g}"
        case "embedding":
            return f"of {layer['column']}"
        case "residual":
            return " → ".join(inner["type"] for inner in layer["layers"])
        case _:
            return None
