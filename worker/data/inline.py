"""Rows in a request -> a table."""

from typing import Any

import pyarrow as pa

from worker.data.readers import CELL_BYTES_LIMIT, check_names
from worker.errors import DataError, SpecError
from worker.specs.dataset import InlineDataset


def inline_table(spec: InlineDataset) -> pa.Table:
    """Return a table of numbers and text. Raises SpecError for a row of the wrong length or a cell of another kind."""
    try:
        names = check_names(list(spec.columns))
    except DataError as error:
        raise SpecError("/dataset/columns", str(error)) from error
    for n, row in enumerate(spec.rows):
        if len(row) != len(names):
            raise SpecError(f"/dataset/rows/{n}", f"expected {len(names)} cells, got {len(row)}")
    columns = zip(*spec.rows, strict=True)
    return pa.table(
        {name: _column(cells, position) for position, (name, cells) in enumerate(zip(names, columns, strict=True))}
    )


def _column(cells: tuple[Any, ...], position: int) -> pa.Array:
    cells = tuple(None if cell == "" else cell for cell in cells)
    kinds = {_kind(cell) for cell in cells if cell is not None}
    if len(kinds) > 1:
        first = next(_kind(cell) for cell in cells if cell is not None)
        n = next(n for n, cell in enumerate(cells) if cell is not None and _kind(cell) != first)
        raise SpecError(f"/dataset/rows/{n}/{position}", f"is {_kind(cells[n])}; the column's cells above are {first}")
    if kinds == {"text"}:
        long = next((n for n, cell in enumerate(cells) if cell and len(cell.encode()) > CELL_BYTES_LIMIT), None)
        if long is not None:
            raise SpecError(f"/dataset/rows/{long}/{position}", f"is longer than {CELL_BYTES_LIMIT} bytes")
        return pa.array(cells, pa.string())
    if kinds == {"true or false"}:
        return pa.array([None if cell is None else str(cell).lower() for cell in cells], pa.string())
    if all(isinstance(cell, int | None) for cell in cells) and kinds:
        try:
            return pa.array(cells, pa.int64())
        except (OverflowError, pa.ArrowInvalid) as error:
            raise SpecError(f"/dataset/columns/{position}", "has an integer past 64 bits") from error
    return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())


def _kind(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true or false"
    return "text" if isinstance(cell, str) else "a number"
