"""Encodes rows to predict, in any form that a client may send, as the matrix that the network takes."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from worker.data.encoders import CategoricalCode, Encoders, Matrix, NumericCode, encode_table
from worker.errors import DataError
from worker.networks.ranges import NONE, Ranges, Warnings

Row = Sequence[Any] | dict[str, Any]

BLOCK_CELLS = 25_000
"""About how many numbers are standardised together: 1,000 rows of 784 numbers take 0.6 ms in blocks that fit the cache,
and 2.7 ms at once."""

NUMBERS = {int, float, type(None)}
"The types of a numeric cell. bool is left out, though Python counts it as an int."


class Encoded(NamedTuple):
    """Encoded rows.

    x: the input of the network, (rows, width).
    warnings: warnings about values outside the range that training saw.
    """

    x: Matrix
    warnings: Warnings


class RowEncoder:
    """Encodes rows by name or by position. One row of 64 numbers takes about 10 us.

    Numbers are imputed and standardised together; only categories are looked at cell by cell.
    """

    def __init__(self, encoders: Encoders, dtype: DTypeLike = np.float32) -> None:
        self._encoders, self._dtype = encoders, dtype
        self._names = [code.name for code in encoders.features]
        self._known = frozenset(self._names)
        numeric = [code for code in encoders.features if isinstance(code, NumericCode)]
        self._all_numeric = len(numeric) == len(self._names)
        self._medians = np.array([code.median for code in numeric])
        self._means = np.array([code.mean for code in numeric])
        self._scales = np.array([code.scale for code in numeric])
        # so it is in a network that was imported without encoders
        self._unscaled = not self._means.any() and bool((self._scales == 1).all())
        self._block_rows = 1 + BLOCK_CELLS // max(1, len(numeric))
        self._ranges = Ranges(encoders)

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """Encode rows, each a list in feature order or a dict by column name. Raises DataError with row and column."""
        cells = rows if self._are_in_order(rows) else [self._in_order(row, n) for n, row in enumerate(rows)]
        if not self._all_numeric:
            return self.encode_table(self._table_of(cells))
        if not NUMBERS.issuperset(map(type, chain.from_iterable(cells))):
            n, position = next(
                (n, p) for n, row in enumerate(cells) for p, cell in enumerate(row) if type(cell) not in NUMBERS
            )
            raise DataError("must be a number", row=n, column=self._names[position])
        return self._encode_numbers(self._numbers(cells))

    def _are_in_order(self, rows: Sequence[Row]) -> TypeGuard[Sequence[Sequence[Any]]]:
        """Return whether each row is a list with one cell for each feature. Rows are checked together for speed."""
        return {list, tuple}.issuperset(map(type, rows)) and {len(self._names)}.issuperset(map(len, rows))

    def encode_columns(self, columns: Mapping[str, Sequence[Any]]) -> Encoded:
        """Encode columns of equal length, by name. Raises DataError."""
        for name in self._names:
            if name not in columns:
                raise DataError("this column is missing", column=name)
        if len(columns) != len(self._names):
            raise DataError("is not a feature of this model", column=next(k for k in columns if k not in self._known))
        ordered = [columns[name] for name in self._names]
        for name, cells in zip(self._names, ordered, strict=True):
            if len(cells) != len(ordered[0]):
                raise DataError(f"expected {len(ordered[0])} cells, got {len(cells)}", column=name)
        return self.encode(list(zip(*ordered, strict=True)))

    def encode_array(self, values: NDArray[np.float64]) -> Encoded:
        """Encode numbers, (rows, features). NaN is a missing cell. Raises DataError, also if a feature is text."""
        if not self._all_numeric:
            name = next(code.name for code in self._encoders.features if isinstance(code, CategoricalCode))
            raise DataError("is text, and an array has only numbers: send rows, columns or a table", column=name)
        if values.shape[1] != len(self._names):
            raise DataError(f"expected {len(self._names)} columns, got {values.shape[1]}")
        return self._encode_numbers(values)

    def encode_table(self, table: pa.Table) -> Encoded:
        """Encode a table that has the features' columns; others are ignored. Raises DataError."""
        # a number that overflows is refused, with its column's name
        with np.errstate(over="ignore"):
            x = encode_table(table, self._encoders, dtype=self._dtype)
        return Encoded(x, self._ranges.of_table(table))

    def _encode_numbers(self, values: NDArray[np.float64]) -> Encoded:
        matrix = self._standardised(values)
        if np.count_nonzero(np.isfinite(matrix)) < matrix.size:
            # missing cells, or numbers that are too large; they are rare, so only here are the two distinguished
            matrix = self._standardised(np.where(np.isnan(values), self._medians, values))
            self._check_finite(matrix)
        return Encoded(matrix, self._ranges.of_values(values))

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

    def _in_order(self, row: Row, n: int) -> Sequence[Any]:
        """Return the row's cells in the order of the features."""
        if isinstance(row, dict):
            if len(row) == len(self._names):
                try:
                    return [row[name] for name in self._names]
                except KeyError as error:
                    raise DataError("this column is missing", row=n, column=error.args[0]) from error
            missing = next((name for name in self._names if name not in row), None)
            if missing is not None:
                raise DataError("this column is missing", row=n, column=missing)
            raise DataError(
                "is not a feature of this model", row=n, column=next(k for k in row if k not in self._known)
            )
        if len(row) != len(self._names):
            raise DataError(f"expected {len(self._names)} cells, got {len(row)}", row=n)
        return row

    def _numbers(self, cells: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
        try:
            # None becomes NaN
            return np.array(cells, np.float64).reshape(len(cells), len(self._names))
        except OverflowError:
            for n, row in enumerate(cells):
                for name, cell in zip(self._names, row, strict=True):
                    if cell is not None and abs(cell) > 1e308:
                        raise DataError("is too large", row=n, column=name) from None
            raise

    def _check_finite(self, matrix: Matrix) -> None:
        finite = np.isfinite(matrix)
        if not finite.all():
            row, position = (int(n) for n in np.argwhere(~finite)[0])
            raise DataError("is too large for the network's precision", row=row, column=self._names[position])

    def _table_of(self, cells: Sequence[Sequence[Any]]) -> pa.Table:
        columns = {}
        for position, code in enumerate(self._encoders.features):
            values = [row[position] for row in cells]
            columns[code.name] = _texts(values, code) if isinstance(code, CategoricalCode) else _floats(values, code)
        return pa.table(columns)


def _texts(values: Sequence[Any], code: CategoricalCode) -> pa.Array:
    for n, value in enumerate(values):
        if not isinstance(value, str | int | float | None):
            raise DataError("must be text, a number, true, false or null", row=n, column=code.name)
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: str | float | bool | None) -> str | None:
    """Return a category as the text that the readers of tables make of it: true, 3, 0.5. An empty cell is missing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        # JSON has one kind of number: 3.0 is the category 3
        return str(int(value))
    return None if value in ("", None) else str(value)


def _floats(values: Sequence[Any], code: NumericCode) -> pa.Array:
    for n, value in enumerate(values):
        if type(value) not in NUMBERS:
            raise DataError("must be a number", row=n, column=code.name)
        if value is not None and abs(value) > 1e308:
            raise DataError("is too large", row=n, column=code.name)
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def check_encoded(values: NDArray[Any], encoders: Encoders, dtype: np.dtype[Any]) -> Encoded:
    """Check rows that a client has encoded itself. They are not copied if they have the network's dtype.

    values: numbers, (rows, width), in the order of `encoders.columns`.
    Raises DataError for a number that is not finite, or that is not a category's number in an embedded column.
    """
    with np.errstate(over="ignore"):
        x: Matrix = values.astype(dtype, copy=False)
    finite = np.isfinite(x)
    if np.count_nonzero(finite) < x.size:
        row, position = (int(n) for n in np.argwhere(~finite)[0])
        raise DataError(f"is not finite at position {position}", row=row)
    start = 0
    for code in encoders.features:
        if isinstance(code, CategoricalCode) and code.embedded:
            _check_category(x[:, start], code)
        start += code.width if isinstance(code, CategoricalCode) else 1
    return Encoded(x, NONE)


def _check_category(column: Matrix, code: CategoricalCode) -> None:
    """Raise DataError for a number that is not a category's: it would select a wrong row of the embedding, or none."""
    wrong = (column < 0) | (column > code.category_count) | (column != np.trunc(column))
    if wrong.any():
        detail = f"must be the number of a category, from 0 to {code.category_count}, the last for one never seen"
        raise DataError(detail, row=int(wrong.argmax()), column=code.name)
