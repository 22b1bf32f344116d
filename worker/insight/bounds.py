"""Limits on the cost of a question about a network, checked before anything is read or allocated."""

from typing import Any

from worker.errors import QuestionError

PARAMETERS = 5_000_000
"Weights and biases of one member: 40 MB in float64, and a question holds two copies."
STORED = 20_000_000
"Weights and biases of all members; they are read from the record together."
ROWS = 256
PRODUCTS = 400_000_000
"Rows x parameters: a question makes 5 to 20 forward passes, and each takes up to 20 ms at this limit."
VALUES = 200_000
"The most numbers in an answer that shows every unit."


def check_cost(*, parameters: int, members: int, rows: int) -> None:
    """Raise QuestionError(too_costly), with the figure and the limit, if a question exceeds a limit."""
    for figure, limit, what in (
        (parameters, PARAMETERS, "weights and biases"),
        (parameters * members, STORED, "weights and biases in all members"),
        (parameters * rows, PRODUCTS, "products of a row with a weight"),
    ):
        if figure > limit:
            raise QuestionError("", f"needs {figure} {what}; the limit is {limit}", code="too_costly")


def affordable_rows(parameters: int) -> int:
    """Return how many rows of a sample are within the limits."""
    return max(1, min(ROWS, PRODUCTS // max(1, parameters)))


def check_values(layers: list[dict[str, Any]]) -> None:
    """Raise QuestionError if an answer with every unit of these layers would be too long.

    layers: the layers as a job's row stores them.
    """
    values = 4 * sum(layer["outputs"] for layer in layers)
    if values > VALUES:
        detail = f"would show {values} values of units; the limit is {VALUES}: ask with rows, or dataset_rows"
        raise QuestionError("", detail, code="too_costly")
