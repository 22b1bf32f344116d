"""Rows that a client has encoded itself, looked at before they go into the network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.data.encoders import CategoricalCode, Encoders, Matrix
from worker.errors import DataError
from worker.networks.ranges import NONE
from worker.networks.rows import Encoded


def check_encoded(values: NDArray[Any], encoders: Encoders, dtype: np.dtype[Any]) -> Encoded:
    """values: numbers, (rows, width), in the order of `encoders.columns`; not copied if they are of the dtype.

    Raises DataError for a number that is not finite, or that is none of an embedded column's categories.
    """
    with np.errstate(over="ignore"):
        x: Matrix = values.astype(dtype, copy=False)
    finite = np.isfinite(x)
    if np.count_nonzero(finite) < x.size:
        row, position = (int(n) for n in np.argwhere(~finite)[0])
        raise DataError(f"is not finite at position {position}", row=row)
    start = 0
    for code in encoders.features:
        if isinstance(code, CategoricalCode):
            if code.embedded:
                _check_category(x[:, start], code)
            start += code.width
        else:
            start += 1
    return Encoded(x, NONE)


def _check_category(column: Matrix, code: CategoricalCode) -> None:
    """Its number picks a row of the embedding: any other would be another's row, or none."""
    wrong = (column < 0) | (column > code.numbers) | (column != np.trunc(column))
    if wrong.any():
        detail = f"must be the number of a category, from 0 to {code.numbers}, the last for one never seen"
        raise DataError(detail, row=int(wrong.argmax()), column=code.name)
