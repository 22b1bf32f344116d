"""Cells -> the matrix that the network takes, for a job's table and for rows to predict: one rule for both.

Numbers are imputed and standardised together. Each distinct category is looked up once in a table, and each cell in a
row of JSON.
"""

import difflib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

from worker.data.cells import (
    MISSING,
    Lookup,
    category_text,
    map_distinct,
    missing_numbers,
    read_number,
    read_numbers,
    shown,
)
from worker.data.encoders import CategoricalCode, Encoders, Matrix, NumericCode, floats_of
from worker.data.scaling import Scaling
from worker.data.times import TimeForm
from worker.errors import DataError
from worker.specs.base import column_name

ROWS_AT_ONCE = 65_536
"So many rows of a table are encoded together: what is between its cells and the matrix takes several times as much."
NUMBERS = {int, float, type(None)}
"The types of a numeric cell. bool is left out, though Python counts it as an int."
SCALARS = (str, int, float, type(None))
UNKNOWN_SHOWN = 20
NEAR_CATEGORIES, NEAR_LETTERS = 64, 16
LARGEST = 1e308
NONE = np.empty((0, 0), np.int64)
"The categories of a network without any."

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
    categories: of the other features, (rows, other features): the number of each cell's category; the number after the
        last is for categories that training never saw.
    unknown: the first cells with such a category. unknown_total: how many there are.
    """

    numbers: NDArray[np.float64]
    categories: NDArray[np.int64]
    unknown: Sequence[Unknown] = ()
    unknown_total: int = 0


class Categories:
    """The numbers of a feature's categories. missing: that of a missing cell."""

    def __init__(self, code: CategoricalCode, missing: Sequence[str] = MISSING) -> None:
        self.code, self._texts = code, missing
        self._lookup = Lookup(code.numbers, missing)
        if code.missing:
            self.missing = len(code.categories)
        else:
            known = None if code.most_frequent is None else self._lookup.find(code.most_frequent)
            self.missing = code.category_count if known is None else known

    def find(self, cell: Cell, row: int | None = None) -> int:
        """Return the number of the cell's category. Raises DataError for what is no scalar."""
        if not isinstance(cell, SCALARS):
            raise DataError("must be text, a number, true, false or null", row=row, column=self.code.name)
        number = None if cell is None else self._lookup.find(cell)
        if number is not None:
            return number
        return self.missing if category_text(cell, self._texts) is None else self.code.category_count

    def of_column(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        numbers: NDArray[np.int64] = map_distinct(column, self.find, pa.int64()).fill_null(self.missing).to_numpy()
        return numbers

    def detail(self, cell: Cell, *, nearest: bool) -> str:
        """Return what is to be said of a category that training never saw. nearest: with the one that is most like it.

        That is looked for among few short ones, in a millisecond at most: among 1,000 long ones it took 0.7 s.
        """
        if (text := category_text(cell, self._texts)) is None:
            return "is missing, and training saw no value"
        known = {category[:NEAR_LETTERS]: category for category in self.code.categories[:NEAR_CATEGORIES]}
        near = difflib.get_close_matches(text[:NEAR_LETTERS], known, 1) if nearest else []
        most_like = f"; the nearest that it saw is {shown(known[near[0]])}" if near else ""
        return f"{shown(cell)} is a category that training never saw{most_like}"


class Encoding:
    """Encodes cells as one network takes them. Threads can share it. One row of 64 numbers takes about 10 us.

    pool_unknown: accept unknown categories even where the column refuses them. Use it for the table that the job was
        trained on, whose validation and test parts may have categories that the training part lacks.
    """

    def __init__(self, encoders: Encoders, dtype: DTypeLike = np.float32, *, pool_unknown: bool = False) -> None:
        self.names = [code.name for code in encoders.features]
        self._dtype, self._pools, self._width = dtype, pool_unknown, encoders.width
        self.numeric = [code for code in encoders.features if isinstance(code, NumericCode)]
        missing = encoders.missing
        self._categories = [
            Categories(code, missing) for code in encoders.features if isinstance(code, CategoricalCode)
        ]
        self._missing, self._missing_numbers = missing, missing_numbers(missing)
        # a number that means a missing cell is no moment
        self._may_be_missing = np.array([not isinstance(code.form, TimeForm) for code in self.numeric], np.bool_)
        self.all_numeric = not self._categories
        self._set_places(encoders)
        self._medians = np.array([code.median for code in self.numeric])
        self._scaling = Scaling(self.numeric, dtype)
        self._beside = self._scaling.places(self._number_starts, self.numeric)

    def _set_places(self, encoders: Encoders) -> None:
        """Note where each feature is in a row, and where it begins in the matrix."""
        starts = list(accumulate((column.width for column in encoders.columns), initial=0))[:-1]
        is_number = [isinstance(code, NumericCode) for code in encoders.features]
        self._number_places = [n for n, numeric in enumerate(is_number) if numeric]
        self._category_places = [n for n, numeric in enumerate(is_number) if not numeric]
        self._number_starts = [starts[n] for n in self._number_places]
        self._number_slots = _slots(self._number_starts)
        self._category_starts = np.array([starts[n] for n in self._category_places], np.int64)
        self._counts = np.array([known.code.category_count for known in self._categories], np.int64)
        self._lookups = [(known.find, n) for known, n in zip(self._categories, self._category_places, strict=True)]
        self._embedded = np.array([known.code.embedded for known in self._categories], np.bool_)
        self._has_embedded = bool(self._embedded.any())

    # Reading

    def of_rows(self, rows: Sequence[Sequence[Cell]]) -> Columns:
        """Read rows of JSON, each with a cell for each feature, in their order. Raises DataError."""
        if self.all_numeric:
            return Columns(self._present(self._numbers(rows)), NONE)
        numbers = self._numbers([[row[n] for n in self._number_places] for row in rows])
        found = [[find(row[n], at) for find, n in self._lookups] for at, row in enumerate(rows)]
        categories = np.array(found, np.int64).reshape(len(rows), len(self._categories))
        return self._checked(numbers, categories, lambda n, row: rows[row][n])

    def of_columns(self, columns: Sequence[Sequence[Cell]]) -> Columns:
        """Read columns of JSON, in the order of the features. Raises DataError."""
        return self.of_rows(list(zip(*columns, strict=True)))

    def of_table(self, table: pa.Table) -> Columns:
        """Read the features' columns of a table; it may have others. Raises DataError."""
        places = {column_name(name): n for n, name in enumerate(table.column_names)}
        for name in self.names:
            if column_name(name) not in places:
                raise DataError("this column is missing", column=name)
        columns = [table.column(places[column_name(name)]) for name in self.names]
        numbers = [
            _numbers_of(columns[n], code, self._missing)
            for n, code in zip(self._number_places, self.numeric, strict=True)
        ]
        pairs = zip(self._categories, self._category_places, strict=True)
        categories = [known.of_column(columns[n]) for known, n in pairs]
        rows = table.num_rows
        side_by_side = _side_by_side(numbers, np.empty((rows, 0))), _side_by_side(categories, NONE)
        return self._checked(*side_by_side, lambda n, row: columns[n][row].as_py())

    def of_array(self, values: NDArray[Any]) -> Columns:
        """Read numbers, (rows, features). A category may be a number too. Raises DataError."""
        if values.shape[1] != len(self.names):
            raise DataError(f"expected {len(self.names)} columns, got {values.shape[1]}")
        if self.all_numeric:
            return Columns(self._present(values), NONE)
        pairs = zip(self._categories, self._category_places, strict=True)
        categories = [known.of_column(pa.chunked_array([values[:, n]])) for known, n in pairs]
        numbers = values[:, self._number_places]
        return self._checked(numbers, _side_by_side(categories, NONE), lambda n, row: values[row, n].item())

    def _numbers(self, rows: Sequence[Sequence[Cell]]) -> NDArray[np.float64]:
        """Return the numeric cells of rows of JSON, with NaN for a missing one. Raises DataError."""
        if not NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
            rows = [[self._number(cell, n, at) for n, cell in enumerate(row)] for at, row in enumerate(rows)]
        try:
            # None becomes NaN
            return np.array(rows, np.float64).reshape(len(rows), len(self.numeric))
        except OverflowError:
            row, place = next((n, p) for n, row in enumerate(rows) for p, cell in enumerate(row) if _is_large(cell))
            raise DataError("is too large", row=row, column=self.numeric[place].name) from None

    def _number(self, cell: Cell, place: int, row: int) -> float | None:
        code = self.numeric[place]
        if isinstance(cell, SCALARS):
            with suppress(ValueError):
                return read_number(cell, self._missing, _pattern(code))
        raise DataError(f"must be a number, not {shown(cell)}", row=row, column=code.name)

    def _present(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers, with NaN for those that mean a missing cell."""
        if not self._missing_numbers:
            return numbers
        return np.where(np.isin(numbers, self._missing_numbers) & self._may_be_missing, np.nan, numbers)

    def _checked(
        self, numbers: NDArray[np.float64], categories: NDArray[np.int64], cell: Callable[[int, int], Cell]
    ) -> Columns:
        """Raise DataError for a category that training never saw, if its column refuses it.

        cell: returns a cell, by the number of its feature and its row.
        """
        numbers = self._present(numbers)
        is_unknown = categories == self._counts
        total = 0 if self._pools else int(np.count_nonzero(is_unknown))
        if not total:
            return Columns(numbers, categories)
        unknown: list[Unknown] = []
        for n, known in enumerate(self._categories):
            rows, place = np.flatnonzero(is_unknown[:, n])[:UNKNOWN_SHOWN].tolist(), self._category_places[n]
            if rows and known.code.unknown == "refuse":
                detail = known.detail(cell(place, rows[0]), nearest=True)
                raise DataError(detail, row=rows[0], column=known.code.name)
            for row in rows[: UNKNOWN_SHOWN - len(unknown)]:
                detail = known.detail(cell(place, row), nearest=not unknown)
                unknown.append(Unknown(row, known.code.name, detail))
        return Columns(numbers, categories, unknown, total)

    # Encoding

    def matrix(self, columns: Columns, into: Matrix | None = None) -> Matrix:
        """Return the input of the network, (rows, width). Raises DataError for a number that its dtype can't hold.

        into: contiguous rows to write it to; None for a new array.
        """
        if not self._scaling.is_linear:
            # a quantile makes a number of infinity
            self._check_finite(np.nan_to_num(columns.numbers, nan=0.0, posinf=np.inf, neginf=-np.inf))
        present, numbers = columns.numbers, self._scaling.scaled(columns.numbers)
        if np.count_nonzero(np.isfinite(numbers)) < numbers.size:
            # missing cells, or numbers that are too large; they are rare, so only here are the two distinguished
            present = np.where(np.isnan(columns.numbers), self._medians, columns.numbers)
            numbers = self._scaling.scaled(present)
            self._check_finite(numbers)
        if into is None and self.all_numeric and self._scaling.is_plain:
            return numbers
        matrix: Matrix = np.empty((len(numbers), self._width), self._dtype) if into is None else into
        matrix[...] = 0
        matrix[:, self._number_slots] = numbers
        if not self._scaling.is_plain:
            matrix[:, self._beside] = self._scaling.beside(columns.numbers, present)
        if not self.all_numeric:
            self._mark(matrix, columns.categories)
        return matrix

    def _mark(self, matrix: Matrix, categories: NDArray[np.int64]) -> None:
        """Write the indicators of categories into contiguous rows of zeros, and the numbers that embeddings take."""
        is_known = categories < self._counts
        if self._has_embedded:
            is_known &= ~self._embedded
        # places in the whole array take half the time of rows and columns
        places = np.arange(0, matrix.size, self._width)[:, None] + (self._category_starts + categories)
        matrix.reshape(-1)[places if np.count_nonzero(is_known) == is_known.size else places[is_known]] = 1
        if self._has_embedded:
            matrix[:, self._category_starts[self._embedded]] = categories[:, self._embedded]

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
    matrix: Matrix = np.empty((table.num_rows, encoders.width), dtype)
    for start in range(0, table.num_rows, ROWS_AT_ONCE):
        part = table.slice(start, ROWS_AT_ONCE)
        try:
            encoding.matrix(encoding.of_table(part), into=matrix[start : start + part.num_rows])
        except DataError as error:
            raise DataError(
                error.detail, row=None if error.row is None else start + error.row, column=error.column
            ) from error
    return matrix


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
    # those of older imported networks were not cleaned
    cleaned = [column_name(name) for name in names]
    missing = next((name for name, known in zip(names, cleaned, strict=True) if known not in named), None)
    if missing is not None:
        raise DataError("this column is missing", row=n, column=missing)
    if len(named) < len(row):
        seen: set[str] = set()
        twice = next(name for name in map(column_name, row) if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError("two columns have this name", row=n, column=twice)
    known = frozenset(cleaned)
    return [named[name] for name in cleaned], [name for name in named if name not in known]


def _slots(starts: list[int]) -> slice | list[int]:
    """Return columns of a matrix as a slice if they are beside each other, which are written seven times as fast."""
    first = starts[0] if starts else 0
    return slice(first, first + len(starts)) if starts == list(range(first, first + len(starts))) else starts


def _side_by_side(columns: Sequence[NDArray[Any]], otherwise: NDArray[Any]) -> NDArray[Any]:
    return np.stack(columns, axis=1) if columns else otherwise


def _pattern(code: NumericCode) -> str | None:
    return None if code.form is None else code.form.pattern


def _is_large(cell: float | None) -> bool:
    return cell is not None and abs(cell) > LARGEST


def _numbers_of(column: pa.ChunkedArray, code: NumericCode, missing: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers of a column of a table, with NaN for a missing cell. Raises DataError."""
    if pa.types.is_string(column.type):
        try:
            return floats_of(read_numbers(column, missing, _pattern(code)))
        except ValueError as error:
            row = int(error.args[0])
            raise DataError(f"must be a number, not {shown(column[row].as_py())}", row=row, column=code.name) from None
    if pa.types.is_boolean(column.type):
        row = pc.index(column.is_valid(), pa.scalar(value=True)).as_py()
        if row >= 0:
            raise DataError("must be a number, not true or false", row=row, column=code.name)
    return floats_of(column)
