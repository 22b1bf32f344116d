"""Warnings about values outside the range that training saw. A network only guesses there, however sure it seems."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.data.encoders import Encoders, NumericCode, numbers_of

WARNINGS_LIMIT = 20
# as a share of the larger bound: a bound that was rounded to float32 does not count as outside
SLACK = 1e-6


class Warnings(NamedTuple):
    """The values that lie outside.

    total: how many there are.
    first: row, column and detail of the first WARNINGS_LIMIT of them.
    """

    total: int = 0
    first: tuple[dict[str, Any], ...] = ()


NONE = Warnings()


class Ranges:
    """The smallest and largest value of each numeric feature. Old weights lack them, and give no warnings."""

    def __init__(self, encoders: Encoders) -> None:
        self._codes = [code for code in encoders.features if isinstance(code, NumericCode)]
        self._names = [code.name for code in self._codes]
        lowest = np.array([-np.inf if code.minimum is None else code.minimum for code in self._codes])
        highest = np.array([np.inf if code.maximum is None else code.maximum for code in self._codes])
        self._known = bool(np.isfinite(lowest).any())
        slack = np.where(np.isfinite(lowest), SLACK * np.maximum(np.abs(lowest), np.abs(highest)), 0)
        self._lowest, self._highest = lowest - slack, highest + slack

    def of_values(self, values: NDArray[np.float64]) -> Warnings:
        """Return warnings. values: (rows, numeric features), not standardised, with NaN for a missing cell."""
        if not self._known:
            return NONE
        outside = (values < self._lowest) | (values > self._highest)
        # every prediction passes here: count_nonzero takes 0.2 us, any() 1.4
        total = np.count_nonzero(outside)
        if total == 0:
            return NONE
        places = np.argwhere(outside)[:WARNINGS_LIMIT].tolist()
        return Warnings(int(total), tuple(self._warning(row, n, values[row, n]) for row, n in places))

    def of_table(self, table: pa.Table) -> Warnings:
        """Return warnings about a table that has been encoded, so that its numeric features exist and are numbers."""
        return self.of_values(numbers_of(table, self._names)) if self._known else NONE

    def _warning(self, row: int, position: int, value: float) -> dict[str, Any]:
        code = self._codes[position]
        if value < self._lowest[position]:
            detail = f"is below {code.minimum:g}, the smallest value that training saw"
        else:
            detail = f"is above {code.maximum:g}, the largest value that training saw"
        return {"row": row, "column": code.name, "detail": detail}
