"""Rows in a request -> a table."""

from typing import Any

import pyarrow as pa

from worker.data.cells import MISSING, category_text, read_number, shown
from worker.data.readers import CELL_BYTES_LIMIT, Named, check_names, named, named_table, numbers_of_form, whole
from worker.data.reading import READING
from worker.data.times import time_form
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
    known = [_column(cells, position) for position, cells in enumerate(columns)]
    pairs = zip(names, known, strict=True)
    return named_table([_named(name, column, is_text=name in spec.text) for name, column in pairs], READING)


def _named(name: str, column: pa.Array, *, is_text: bool) -> Named:
    """Return the column, as times if it is text and all of it is. is_text: whether it is text even so."""
    cells = pa.chunked_array([column])
    form = time_form(cells) if pa.types.is_string(column.type) and not is_text else None
    found = None if form is None else numbers_of_form(cells, name, form, READING)
    return found or named(name, cells)


def _column(cells: tuple[Any, ...], position: int) -> pa.Array:
    """Return the column as numbers if every cell is a number or missing; else as categories.

    JSON has types: where each cell is in quotes the column is text, whatever it looks like, and a cell that is no
    number among numbers is refused.
    """
    long = next((n for n, cell in enumerate(cells) if isinstance(cell, str) and _length(cell) > CELL_BYTES_LIMIT), None)
    if long is not None:
        raise SpecError(f"/dataset/rows/{long}/{position}", f"is longer than {CELL_BYTES_LIMIT} bytes")
    has_numbers = any(type(cell) in (int, float) for cell in cells)
    if not has_numbers and any(category_text(cell, MISSING) for cell in cells):
        return pa.array([category_text(cell, MISSING) for cell in cells], pa.string())
    numbers = [_number(cell, f"/dataset/rows/{n}/{position}") for n, cell in enumerate(cells)]
    if has_numbers and all(isinstance(number, int | None) for number in numbers):
        try:
            return pa.array(numbers, pa.int64())
        except (OverflowError, pa.ArrowInvalid) as error:
            raise SpecError(f"/dataset/columns/{position}", "has an integer past 64 bits") from error
    floats = pa.array([None if number is None else float(number) for number in numbers], pa.float64())
    return whole(pa.chunked_array([floats])).combine_chunks()


def _number(cell: Any, pointer: str) -> float | None:
    try:
        return read_number(cell, MISSING)
    except ValueError:
        raise SpecError(pointer, f"is {shown(cell)}; other cells of its column are numbers") from None


def _length(cell: str) -> int:
    return len(cell.encode())
