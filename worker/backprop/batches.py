"""Parts of the table, and their rows gathered into batches in the order of an epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.arrays import Floats, Integers, Targets, transposed
from worker.backprop.losses.objective import Objective

# gathered rows stay in the cache until their steps have used them, and a small table is gathered at once
BLOCK_BYTES = 1024 * 1024


class Part(NamedTuple):
    """Rows of the table.

    x_and_ones: (rows, inputs + 1). The last column is ones, for the biases.
    y: labels, integers (rows,), or numbers (rows, outputs).
    weights: (rows,), with mean 1.
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
        """Copy some rows of x (all rows, inputs) and y. Their weights are divided by their mean.

        y is labels if it has one axis, and numbers if it has two.
        """
        chosen = y[rows]
        copy = np.ones((len(chosen), x.shape[1] + 1), dtype or np.result_type(x, np.float32))
        copy[:, :-1] = x[rows]
        if weights is not None:
            # divide by the largest first: the sum of huge weights is not finite
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
"x, targets and weights, which a training pass reads, and z, into which it writes its last z"


class Batches:
    """Batches of one size.

    z: the network's last z in each step of this epoch so far, (steps, ..., units, rows).
    """

    def __init__(
        self,
        part: Part,
        objective: Objective,
        units: int,
        *,
        rows: int,
        steps: int,
        members: tuple[int, ...],
        weights: Floats | None,
    ) -> None:
        """weights: of the part's rows, (rows,), or for each member, (members, rows); None if all count the same."""
        self._part, self._objective, self._units, self._weights = part, objective, units, weights
        self.rows, self.steps = rows, steps
        width, dtype = part.x_and_ones.shape[1], part.x_and_ones.dtype
        batch_bytes = rows * width * dtype.itemsize * int(np.prod(members))
        self._block = max(1, min(steps, BLOCK_BYTES // batch_bytes))
        self._x = np.empty((*members, self._block * rows, width), dtype)
        self._views = list(transposed(self._steps_first(self._x)))
        self.z = np.empty((steps, *members, units, rows), dtype)

    def in_order(self, order: Integers, first: int) -> Iterator[Batch]:
        """Yield the batches from number `first` on. order: row numbers, (..., steps x rows)."""
        for start in range(first - first % self._block, self.steps, self._block):
            stop = min(start + self._block, self.steps)
            rows = order[..., start * self.rows : stop * self.rows]
            # "clip": the default mode checks the numbers first, which copies the output
            self._part.x_and_ones.take(rows, 0, self._x[..., : rows.shape[-1], :], "clip")
            targets = self._objective.encode(self._steps_first(self._part.y.take(rows, 0)), self._units, self.z.dtype)
            weights = self._weights_of(rows)
            for n in range(max(first, start), stop):
                at = n - start
                yield self._views[at], targets[at], None if weights is None else weights[at], self.z[n]

    def losses(self, order: Integers) -> Floats:
        """Return the sum of the weighted losses of this epoch's rows, from the z of their steps: (...)."""
        losses = self._objective.losses(self.z, self._steps_first(self._part.y.take(order, 0)))
        weights = self._weights_of(order)
        if weights is not None:
            losses = losses * weights[..., 0, :]
        summed: Floats = losses.sum(axis=(0, -1), dtype=np.float64)
        return summed

    def last_z(self) -> Floats:
        """Return the last z for this epoch's rows, in the epoch's order: (..., units, rows)."""
        *members, units, rows = range(1, self.z.ndim)
        return self.z.transpose(*members, units, 0, rows).reshape(*self.z.shape[1:-1], self.steps * self.rows)

    def _weights_of(self, rows: Integers) -> Floats | None:
        if self._weights is None:
            return None
        own = self._weights.ndim > 1
        taken = np.take_along_axis(self._weights, rows, axis=-1) if own else self._weights.take(rows, 0)
        return self._steps_first(taken)[..., None, :]

    def _steps_first(self, taken: Targets) -> Floats:
        """Return an array of (..., steps x rows of a batch, ...) as (steps, ..., rows of a batch, ...)."""
        members = self._x.shape[:-2]
        grouped = taken.reshape(*members, -1, self.rows, *taken.shape[len(members) + 1 :])
        return grouped.swapaxes(0, 1) if members else grouped
