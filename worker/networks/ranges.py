"""Warnings about rows to predict: what training never saw. A network only guesses there, however sure it seems."""

from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from worker.data.encoders import Encoders, NumericCode
from worker.data.encoding import Columns
from worker.data.times import TimeForm, shown_time

WARNINGS_LIMIT = 20


class Warnings(NamedTuple):
    """What a client should know about its rows.

    total: how many warnings there are.
    first: row, column and detail of the first WARNINGS_LIMIT of them; the row is None for a whole column.
    """

    total: int = 0
    first: tuple[dict[str, Any], ...] = ()

    def with_columns(self, columns: Columns, extra: Iterable[str]) -> Self:
        """Return these, behind those about columns that the model does not have and categories that it never saw."""
        if not (extra or columns.unknown_total):
            return self
        names = list(extra)
        detail = "is not a feature of this model, and was passed over"
        passed = ({"row": None, "column": name, "detail": detail} for name in names)
        unknown = (cell._asdict() for cell in columns.unknown)
        total = len(names) + columns.unknown_total + self.total
        return type(self)(total, tuple(islice((*passed, *unknown, *self.first), WARNINGS_LIMIT)))


NONE = Warnings()


class Ranges:
    """The smallest and largest value of each numeric feature. Old weights lack them, and give no warnings."""

    def __init__(self, encoders: Encoders) -> None:
        self._codes = [code for code in encoders.features if isinstance(code, NumericCode)]
        self._names = [code.name for code in self._codes]
        lowest = np.array([-np.inf if code.minimum is None else code.minimum for code in self._codes])
        highest = np.array([np.inf if code.maximum is None else code.maximum for code in self._codes])
        self._known = bool(np.isfinite(lowest).any())
        self._lowest, self._highest = lowest, highest

    def of_values(self, values: NDArray[np.float64]) -> Warnings:
        """Return warnings. values: (rows, numeric features), not standardised, with NaN for a missing cell."""
        if not self._known:
            return NONE
        outside = (values < self._lowest) | (values > self._highest)
        # every prediction passes here: count_nonzero takes 0.2 us, any() 1.4
        if np.count_nonzero(outside) == 0:
            return NONE
        # a bound that was rounded to float32 is not outside
        outside &= (values != _as_float32(self._lowest)) & (values != _as_float32(self._highest))
        total = np.count_nonzero(outside)
        if total == 0:
            return NONE
        places = np.argwhere(outside)[:WARNINGS_LIMIT]
        is_below = values[places[:, 0], places[:, 1]] < self._lowest[places[:, 1]]
        found = zip(places.tolist(), is_below.tolist(), strict=True)
        details, names = self._details, self._names
        return Warnings(
            int(total),
            tuple({"row": row, "column": names[n], "detail": details[n][below]} for (row, n), below in found),
        )

    @cached_property
    def _details(self) -> list[tuple[str, str]]:
        """What to say of a value of each feature that is above, and that is below the range."""
        return [(_detail(code, "above", code.maximum), _detail(code, "below", code.minimum)) for code in self._codes]


def _detail(code: NumericCode, side: str, bound: float | None) -> str:
    most = "largest" if side == "above" else "smallest"
    return "" if bound is None else f"is {side} {_shown(code, bound)}, the {most} value that training saw"


def _shown(code: NumericCode, value: float) -> str:
    return str(shown_time(value, code.form)) if isinstance(code.form, TimeForm) else f"{value:g}"


def _as_float32(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return bounds.astype(np.float32).astype(np.float64)
