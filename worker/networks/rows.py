"""Encodes rows to predict, in any form that a client may send, as the matrix that the network takes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from worker.data.encoders import CategoricalCode, Encoders, Matrix
from worker.data.encoding import Columns, Encoding, in_order
from worker.errors import DataError
from worker.networks.ranges import NONE, Ranges, Warnings
from worker.specs.base import column_name

Row = Sequence[Any] | dict[str, Any]


class Encoded(NamedTuple):
    """Encoded rows.

    x: the input of the network, (rows, width).
    warnings: about values outside the range that training saw, categories that it never saw, and columns that the model
        does not have.
    """

    x: Matrix
    warnings: Warnings


class RowEncoder:
    """Encodes rows by name or by position."""

    def __init__(self, encoders: Encoders, dtype: DTypeLike = np.float32) -> None:
        self._encoding = Encoding(encoders, dtype)
        self._names = self._encoding.names
        self._known = frozenset(map(column_name, self._names))
        self._ranges = Ranges(encoders)

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """Encode rows, each a list in feature order or a dict by column name. Raises DataError with row and column."""
        if self._are_in_order(rows):
            return self._encoded(self._encoding.of_rows(rows))
        extra: dict[str, None] = {}
        cells = [self._in_order(row, n, extra) for n, row in enumerate(rows)]
        return self._encoded(self._encoding.of_rows(cells), extra)

    def encode_columns(self, columns: Mapping[str, Sequence[Any]]) -> Encoded:
        """Encode columns of equal length, by name. Raises DataError."""
        ordered, extra = in_order(dict(columns), self._names)
        for name, cells in zip(self._names, ordered, strict=True):
            if len(cells) != len(ordered[0]):
                raise DataError(f"expected {len(ordered[0])} cells, got {len(cells)}", column=name)
        return self._encoded(self._encoding.of_columns(ordered), extra)

    def encode_array(self, values: NDArray[Any]) -> Encoded:
        """Encode numbers, (rows, features). NaN is a missing cell. Raises DataError."""
        return self._encoded(self._encoding.of_array(values))

    def encode_table(self, table: pa.Table) -> Encoded:
        """Encode a table that has the features' columns. Raises DataError."""
        extra = [name for name in map(column_name, table.column_names) if name not in self._known]
        return self._encoded(self._encoding.of_table(table), extra)

    def _encoded(self, columns: Columns, extra: Iterable[str] = ()) -> Encoded:
        x = self._encoding.matrix(columns)
        return Encoded(x, self._ranges.of_values(columns.numbers).with_columns(columns, extra))

    def _are_in_order(self, rows: Sequence[Row]) -> TypeGuard[Sequence[Sequence[Any]]]:
        """Return whether each row is a list with one cell for each feature. Rows are checked together for speed."""
        return {list, tuple}.issuperset(map(type, rows)) and {len(self._names)}.issuperset(map(len, rows))

    def _in_order(self, row: Row, n: int, extra: dict[str, None]) -> Sequence[Any]:
        """Return the row's cells in the order of the features; note names that no feature has."""
        if isinstance(row, dict):
            cells, names = in_order(row, self._names, n)
            extra.update(dict.fromkeys(names))
            return cells
        if len(row) != len(self._names):
            raise DataError(f"expected {len(self._names)} cells, got {len(row)}", row=n)
        return row


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
        start += code.width
    return Encoded(x, NONE)


def _check_category(column: Matrix, code: CategoricalCode) -> None:
    """Raise DataError for a number that is not a category's: it would select a wrong row of the embedding, or none."""
    wrong = (column < 0) | (column > code.category_count) | (column != np.trunc(column))
    if wrong.any():
        detail = f"must be the number of a category, from 0 to {code.category_count}, the last for one never seen"
        raise DataError(detail, row=int(wrong.argmax()), column=code.name)
