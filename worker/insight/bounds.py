"""What a question about a network may cost, by arithmetic before anything is read or allocated."""

from typing import Any

from worker.errors import QuestionError

PARAMETERS = 5_000_000
"Weights and biases of one member: 40 MB in float64, of which a question holds two."
STORED = 20_000_000
"Weights and biases of all members, which are read from the record together."
ROWS = 256
PRODUCTS = 400_000_000
"Rows x parameters: a question makes some five to twenty forward passes, each of which then takes up to 20 ms."
VALUES = 200_000
"Numbers in an answer that shows every unit."


def check_cost(*, parameters: int, members: int, rows: int) -> None:
    """Raises QuestionError(too_costly) naming the figure and the limit."""
    for figure, limit, what in (
        (parameters, PARAMETERS, "weights and biases"),
        (parameters * members, STORED, "weights and biases in all members"),
        (parameters * rows, PRODUCTS, "products of a row with a weight"),
    ):
        if figure > limit:
            raise QuestionError("", f"needs {figure} {what}; the limit is {limit}", code="too_costly")


def affordable_rows(parameters: int) -> int:
    """How many rows of a sample are within the limits."""
    return max(1, min(ROWS, PRODUCTS // max(1, parameters)))


def check_values(layers: list[dict[str, Any]]) -> None:
    """Raises QuestionError if the units of these layers, as a job has them, make too long an answer."""
    values = 4 * sum(layer["outputs"] for layer in layers)
    if values > VALUES:
        detail = f"would show {values} values of units; the limit is {VALUES}: ask with rows, or dataset_rows"
        raise QuestionError("", detail, code="too_costly")
