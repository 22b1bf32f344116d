"""Cells -> the matrix that the network takes, for a job's table and for rows to predict: one rule for both.

Numbers are imputed and standardised together. Each distinct category is looked up once in a table, and each cell in a
row of JSON.
"""

import difflib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

from worker.data.cells import MISSING, SHOWN, category_text, read_number, read_numbers, shown
from worker.data.encoders import CategoricalCode, Encoders, Matrix, NumericCode, floats_of
from worker.errors import DataError
from worker.specs.base import column_name

BLOCK_CELLS = 25_000
"""About how many numbers are standardised together: 1,000 rows of 784 numbers take 0.6 ms in blocks that fit the cache,
and 2.7 ms at once."""
NUMBERS = {int, float, type(None)}
"The types of a numeric cell. bool is left out, though Python counts it as an int."
SCALARS = (str, int, float, type(None))
UNKNOWN_SHOWN = 20
LARGEST = 1e308

T = TypeVar("T")
Cell = Any
"A scalar of JSON, or whatever a client has put in its place."


class Unknown(NamedTuple):
    """A cell with a category that training never saw, which counts as none of the known ones."""

    row: int
    column: str
    detail: str


class Columns(NamedTuple):
    """The cells of some rows, as their columns have them.

    numbers: of the numeric features, (rows, numeric features), with NaN for a missing cell.
    categories: for each other feature, the number of each row's category; the number after the last is for categories
        that training never saw.
    unknown: the first cells with such a category, and how many there are.
    """

    numbers: NDArray[np.float64]
    categories: Sequence[NDArray[np.int64]] = ()
    unknown: Sequence[Unknown] = ()
    unknown_total: int = 0


class Categories:
    """Finds the number of a category, however a cell is written."""

    def __init__(self, code: CategoricalCode) -> None:
        self.code = code
        self._numbers = {category: n for n, category in enumerate(code.categories)}
        # those of older networks were not cleaned
        self._cleaned = {category_text(category, ()): n for category, n in reversed(self._numbers.items())}
        if code.missing:
            self.missing = len(code.categories)
        else:
            self.missing = self._numbers.get(code.most_frequent or "", code.category_count)

    def find(self, cell: Cell) -> int:
        """Return the number of the cell's category. Raises DataError for what is no scalar."""
        # nearly every cell is a category as it is written
        if type(cell) is str and (number := self._numbers.get(cell)) is not None:
            return number
        if not isinstance(cell, SCALARS):
            raise DataError("must be text, a number, true, false or null", column=self.code.name)
        text = category_text(cell, MISSING)
        if text is None:
            return self.missing
        known = self._numbers.get(text)
        return self._cleaned.get(text, self.code.category_count) if known is None else known

    def of_cells(self, cells: Sequence[Cell]) -> NDArray[np.int64]:
        """Raises DataError with the row."""
        find = self.find
        try:
            return np.array([find(cell) for cell in cells], np.int64)
        except DataError as error:
            row = next(n for n, cell in enumerate(cells) if not isinstance(cell, SCALARS))
            raise DataError(error.detail, row=row, column=error.column) from error

    def of_column(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        found = [np.empty(0, np.int64)]
        for chunk in column.chunks:
            encoded = pc.dictionary_encode(chunk)
            numbers = [*map(self.find, encoded.dictionary.to_pylist()), self.missing]
            found.append(np.array(numbers, np.int64)[encoded.indices.fill_null(len(numbers) - 1)])
        return np.concatenate(found)

    def detail(self, cell: Cell) -> str:
        """Return what is to be said of a category that training never saw."""
        if (text := category_text(cell, MISSING)) is None:
            return "is missing, and training saw no value"
        near = difflib.get_close_matches(text[:SHOWN], self.code.categories, 1)
        nearest = f"; the nearest that it saw is {shown(near[0])}" if near else ""
        return f"{shown(cell)} is a category that training never saw{nearest}"


class Encoding:
    """Encodes cells as one network takes them. Threads can share it. One row of 64 numbers takes about 10 us.

    pool_unknown: accept unknown categories even where the column refuses them. Use it for the table that the job was
        trained on, whose validation and test parts may have categories that the training part lacks.
    """

    def __init__(self, encoders: Encoders, dtype: DTypeLike = np.float32, *, pool_unknown: bool = False) -> None:
        self.names = [code.name for code in encoders.features]
        self._encoders, self._dtype, self._pools = encoders, dtype, pool_unknown
        self._places = [n for n, code in enumerate(encoders.features) if isinstance(code, NumericCode)]
        self.numeric = [code for code in encoders.features if isinstance(code, NumericCode)]
        self._categories = {
            n: Categories(code) for n, code in enumerate(encoders.features) if isinstance(code, CategoricalCode)
        }
        self.all_numeric = not self._categories
        self._medians = np.array([code.median for code in self.numeric])
        self._means = np.array([code.mean for code in self.numeric])
        self._scales = np.array([code.scale for code in self.numeric])
        # so it is in a network that was imported without encoders
        self._unscaled = not self._means.any() and bool((self._scales == 1).all())
        self._block_rows = 1 + BLOCK_CELLS // max(1, len(self.numeric))

    # Reading

    def of_rows(self, rows: Sequence[Sequence[Cell]]) -> Columns:
        """Read rows of JSON, each with a cell for each feature, in their order. Raises DataError."""
        if self.all_numeric:
            cells = [cell for row in rows for cell in row]
            if NUMBERS.issuperset(map(type, cells)):
                return Columns(self._array(cells, rows).reshape(len(rows), len(self.names)))
        return self.of_columns(list(zip(*rows, strict=True)) if rows else [()] * len(self.names))

    def of_columns(self, columns: Sequence[Sequence[Cell]]) -> Columns:
        """Read columns of JSON, in the order of the features. Raises DataError."""
        numbers = [_numbers(columns[n], self.names[n]) for n in self._places]
        found = [known.of_cells(columns[n]) for n, known in self._categories.items()]
        return self._checked(_side_by_side(numbers, len(columns[0])), found, lambda n, row: columns[n][row])

    def of_table(self, table: pa.Table) -> Columns:
        """Read the features' columns of a table; it may have others. Raises DataError."""
        for name in self.names:
            if name not in table.column_names:
                raise DataError("this column is missing", column=name)
        numbers = [_numbers_of(table[self.names[n]], self.names[n]) for n in self._places]
        found = [known.of_column(table[self.names[n]]) for n, known in self._categories.items()]

        def cell(n: int, row: int) -> Cell:
            return table[self.names[n]][row].as_py()

        return self._checked(_side_by_side(numbers, table.num_rows), found, cell)

    def of_array(self, values: NDArray[Any]) -> Columns:
        """Read numbers, (rows, features). A category may be a number too. Raises DataError."""
        if values.shape[1] != len(self.names):
            raise DataError(f"expected {len(self.names)} columns, got {values.shape[1]}")
        if self.all_numeric:
            return Columns(values)
        found = [known.of_column(pa.chunked_array([values[:, n]])) for n, known in self._categories.items()]
        return self._checked(values[:, self._places], found, lambda n, row: values[row, n].item())

    def _array(self, cells: Sequence[float | None], rows: Sequence[Sequence[Cell]]) -> NDArray[np.float64]:
        try:
            # None becomes NaN
            return np.array(cells, np.float64)
        except OverflowError:
            row, place = next((n, p) for n, row in enumerate(rows) for p, cell in enumerate(row) if _is_large(cell))
            raise DataError("is too large", row=row, column=self.names[place]) from None

    def _checked(
        self,
        numbers: NDArray[np.float64],
        categories: Sequence[NDArray[np.int64]],
        cell: Callable[[int, int], Cell],
    ) -> Columns:
        """Raise DataError for a category that training never saw, if its column refuses it.

        cell: returns a cell, by the number of its feature and its row.
        """
        unknown: list[Unknown] = []
        total = 0
        for (n, known), numbered in zip(self._categories.items(), categories, strict=True):
            rows = np.flatnonzero(numbered == known.code.category_count)
            if not len(rows) or self._pools:
                continue
            if known.code.unknown == "refuse":
                row = int(rows[0])
                raise DataError(known.detail(cell(n, row)), row=row, column=known.code.name)
            total += len(rows)
            first = rows[: UNKNOWN_SHOWN - len(unknown)].tolist()
            unknown += [Unknown(row, known.code.name, known.detail(cell(n, row))) for row in first]
        return Columns(numbers, categories, unknown, total)

    # Encoding

    def matrix(self, columns: Columns) -> Matrix:
        """Return the input of the network, (rows, width). Raises DataError for a number that its dtype can't hold."""
        numbers = self._standardised(columns.numbers)
        if np.count_nonzero(np.isfinite(numbers)) < numbers.size:
            # missing cells, or numbers that are too large; they are rare, so only here are the two distinguished
            present = np.where(np.isnan(columns.numbers), self._medians, columns.numbers)
            numbers = self._standardised(present)
            self._check_finite(numbers)
        if self.all_numeric:
            return numbers
        matrix: Matrix = np.zeros((len(numbers), self._encoders.width), self._dtype)
        start = number = 0
        categories = iter(columns.categories)
        for code in self._encoders.features:
            if isinstance(code, NumericCode):
                matrix[:, start] = numbers[:, number]
                start, number = start + 1, number + 1
                continue
            numbered = next(categories)
            if code.embedded:
                matrix[:, start] = numbered
            else:
                rows = np.flatnonzero(numbered < code.category_count)
                matrix[rows, start + numbered[rows]] = 1
            start += code.width
        return matrix

    def _standardised(self, values: NDArray[np.float64]) -> Matrix:
        with np.errstate(over="ignore"):
            if self._unscaled:
                return values.astype(self._dtype, copy=False)
            matrix: Matrix = np.empty(values.shape, self._dtype)
            for start in range(0, len(values), self._block_rows):
                rows = slice(start, start + self._block_rows)
                block = values[rows] - self._means
                matrix[rows] = np.divide(block, self._scales, out=block)
        return matrix

    def _check_finite(self, numbers: Matrix) -> None:
        finite = np.isfinite(numbers)
        if not finite.all():
            row, place = (int(n) for n in np.argwhere(~finite)[0])
            raise DataError("is too large for the network's precision", row=row, column=self.numeric[place].name)


def encode_table(
    table: pa.Table, encoders: Encoders, *, pool_unknown: bool = False, dtype: DTypeLike = np.float32
) -> Matrix:
    """Encode the features of a table as (rows, width). Columns are found by name. Raises DataError with row and column.

    pool_unknown: as in `Encoding`.
    """
    encoding = Encoding(encoders, dtype, pool_unknown=pool_unknown)
    return encoding.matrix(encoding.of_table(table))


def in_order(row: dict[str, T], names: Sequence[str], n: int | None = None) -> tuple[list[T], list[str]]:
    """Return what a row, or a table, has by name in the order of the features, and the names that no feature has.

    Raises DataError for a name that is missing, or that occurs twice once it is trimmed.
    """
    if len(row) == len(names):
        try:
            return [row[name] for name in names], []
        except KeyError:
            # a name may be written in another way
            pass
    named = {column_name(name): cell for name, cell in row.items()}
    missing = next((name for name in names if name not in named), None)
    if missing is not None:
        raise DataError("this column is missing", row=n, column=missing)
    if len(named) < len(row):
        seen: set[str] = set()
        twice = next(name for name in map(column_name, row) if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError("two columns have this name", row=n, column=twice)
    known = frozenset(names)
    return [named[name] for name in names], [name for name in named if name not in known]


def _side_by_side(columns: Sequence[NDArray[np.float64]], rows: int) -> NDArray[np.float64]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0))


def _numbers(cells: Sequence[Cell], name: str) -> NDArray[np.float64]:
    """Return the numbers of a column of JSON, with NaN for a missing cell. Raises DataError."""
    if not NUMBERS.issuperset(map(type, cells)):
        cells = [_number(cell, name, n) for n, cell in enumerate(cells)]
    try:
        return np.array(cells, np.float64)
    except OverflowError:
        row = next(n for n, cell in enumerate(cells) if _is_large(cell))
        raise DataError("is too large", row=row, column=name) from None


def _number(cell: Cell, name: str, row: int) -> float | None:
    if isinstance(cell, SCALARS):
        with suppress(ValueError):
            return read_number(cell, MISSING)
    raise DataError(f"must be a number, not {shown(cell)}", row=row, column=name)


def _is_large(cell: float | None) -> bool:
    return cell is not None and abs(cell) > LARGEST


def _numbers_of(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """Return the numbers of a column of a table, with NaN for a missing cell. Raises DataError."""
    if pa.types.is_string(column.type):
        try:
            return floats_of(read_numbers(column, MISSING))
        except ValueError as error:
            row = int(error.args[0])
            raise DataError(f"must be a number, not {shown(column[row].as_py())}", row=row, column=name) from None
    if pa.types.is_boolean(column.type):
        row = pc.index(column.is_valid(), pa.scalar(value=True)).as_py()
        if row >= 0:
            raise DataError("must be a number, not true or false", row=row, column=name)
    return floats_of(column)
