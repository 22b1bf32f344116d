"""A job's network as rows of a table, with the sizes that follow from its parameter count."""

from itertools import pairwise
from typing import Any

from worker.records.tables import Job


def layer_rows(job: Job) -> list[dict[str, Any]]:
    """The layers in order, the output layer last. The first dense layer's inputs are what is left of the count."""
    targets = job.spec["target"]
    outputs = len(job.classes) if job.classes else len(targets) if isinstance(targets, list) else 1
    output = job.spec["network"]["output"] | {"type": "output", "units": outputs}
    if output["activation"] == "auto":
        output["activation"] = "softmax" if job.classes else "identity"
    rows = [dict(layer) for layer in [*job.spec["network"]["layers"], output]]
    dense = [row for row in rows if "units" in row]
    for before, row in pairwise(dense):
        row["inputs"] = before["units"]
        row["parameters"] = (row["inputs"] + 1) * row["units"]
    first = dense[0]
    first["parameters"] = job.parameters - sum(row["parameters"] for row in dense[1:])
    first["inputs"] = first["parameters"] // first["units"] - 1
    return rows
