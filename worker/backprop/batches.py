"""Parts of the table, and their rows in batches, gathered in an epoch's order."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.arrays import Floats, Integers, Targets, transposed
from worker.backprop.losses.objective import Objective

# of gathered rows: they stay in the cache until their steps have used them, and a small table is gathered at once
BLOCK_BYTES = 1024 * 1024


class Part(NamedTuple):
    """Rows of the table. y: labels (rows,), integers, or numbers (rows, outputs). weights: (rows,), of mean 1.

    x_and_ones: (rows, inputs + 1), a column of ones behind the inputs, for the biases.
    """

    x_and_ones: Floats
    y: Targets
    weights: Floats | None = None

    @classmethod
    def of(
        cls,
        x: Floats,
        y: Targets,
        rows: Integers | slice = slice(None),
        *,
        weights: Floats | None = None,
        dtype: DTypeLike | None = None,
    ) -> "Part":
        """A copy of some rows of x (all rows, inputs) and y; a row's weight becomes its share of their mean.

        y of one axis is taken for labels, y of two for numbers.
        """
        chosen = y[rows]
        copy = np.ones((len(chosen), x.shape[1] + 1), dtype or np.result_type(x, np.float32))
        copy[:, :-1] = x[rows]
        if weights is not None:
            # by the largest first: a sum of huge weights is not finite
            weights = weights[rows] / weights[rows].max()
            weights = (weights / weights.mean()).astype(copy.dtype)
        return cls(copy, chosen.astype(np.int64 if chosen.ndim == 1 else copy.dtype), weights)

    @property
    def x(self) -> Floats:
        """(rows, inputs)."""
        return self.x_and_ones[:, :-1]

    @property
    def rows(self) -> int:
        return len(self.y)


Batch = tuple[Floats, Floats, Floats | None, Floats]
"x, targets and weights, which a training pass takes, and z, where it leaves its last z"


class Batches:
    """Batches of one size. z: what the network made of each so far in this epoch, (steps, ..., units, rows)."""

    def __init__(
        self, part: Part, objective: Objective, units: int, *, rows: int, steps: int, members: tuple[int, ...]
    ) -> None:
        self._part, self._objective, self._units = part, objective, units
        self.rows, self.steps = rows, steps
        width, dtype = part.x_and_ones.shape[1], part.x_and_ones.dtype
        batch_bytes = rows * width * dtype.itemsize * int(np.prod(members))
        self._block = max(1, min(steps, BLOCK_BYTES // batch_bytes))
        self._x = np.empty((*members, self._block * rows, width), dtype)
        self._views = list(transposed(self._steps_first(self._x)))
        self.z = np.empty((steps, *members, units, rows), dtype)

    def in_order(self, order: Integers, first: int) -> Iterator[Batch]:
        """The batches from the first on. order: row numbers, (..., steps x rows)."""
        for start in range(first - first % self._block, self.steps, self._block):
            stop = min(start + self._block, self.steps)
            rows = order[..., start * self.rows : stop * self.rows]
            # "clip": the default checks the numbers, and copies the output to be able to take it back
            self._part.x_and_ones.take(rows, 0, self._x[..., : rows.shape[-1], :], "clip")
            targets = self._objective.encode(self._steps_first(self._part.y.take(rows, 0)), self._units, self.z.dtype)
            weights = self._weights_of(rows)
            for n in range(max(first, start), stop):
                at = n - start
                yield self._views[at], targets[at], None if weights is None else weights[at], self.z[n]

    def losses(self, order: Integers) -> Floats:
        """The loss of this epoch's rows by the z of their steps, weighted and summed: (...)."""
        losses = self._objective.losses(self.z, self._steps_first(self._part.y.take(order, 0)))
        weights = self._weights_of(order)
        if weights is not None:
            losses = losses * weights[..., 0, :]
        summed: Floats = losses.sum(axis=(0, -1), dtype=np.float64)
        return summed

    def last_z(self) -> Floats:
        """z of this epoch's rows, in its order: (..., units, rows)."""
        *members, units, rows = range(1, self.z.ndim)
        return self.z.transpose(*members, units, 0, rows).reshape(*self.z.shape[1:-1], self.steps * self.rows)

    def _weights_of(self, rows: Integers) -> Floats | None:
        weights = self._part.weights
        return None if weights is None else self._steps_first(weights.take(rows, 0))[..., None, :]

    def _steps_first(self, taken: Targets) -> Floats:
        """What was taken for rows (..., steps x rows of a batch, ...) as (steps, ..., rows of a batch, ...)."""
        members = self._x.shape[:-2]
        grouped = taken.reshape(*members, -1, self.rows, *taken.shape[len(members) + 1 :])
        return grouped.swapaxes(0, 1) if members else grouped
