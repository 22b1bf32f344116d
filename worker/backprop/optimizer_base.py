"""The base of every optimizer: one step in place on flat arrays, and the same step as formulas that can be displayed.

`_update` changes the weights, given dL/dw. It works through the flat arrays in blocks that stay in the cache between
its operations, which saves 10 to 18 % of Adam's time above a million parameters. Numbers are arrays without axes, or
with one number for each member of a stack: on a tiny array NumPy takes 0.2 us with such an array, and 0.5 us with a
Python number. `lines` computes the step of one weight in float64, one formula of the paper at a time, for the page that
explains the step.

The `slots` are the optimizer's own arrays, which a checkpoint must keep.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from worker.backprop.arrays import Floats

BLOCK_BYTES = 64 * 1024

Number = float | Floats


class Line(NamedTuple):
    """One displayed line of a computation: name <- formula = value."""

    name: str
    formula: str
    value: float


class Optimizer(ABC):
    """Makes w <- w - learning_rate x (a function of dL/dw). weights, gradient: (size,), or (members, size)."""

    slot_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: Floats, gradient: Floats) -> None:
        self.steps = 0
        self.slots: Mapping[str, Floats] = {name: np.zeros_like(weights) for name in self.slot_names}
        self._dtype = weights.dtype
        size = weights.shape[-1]
        members = weights.size // max(1, size)
        # a block of a stack is some columns of every member, which are not contiguous
        block_bytes = BLOCK_BYTES if weights.ndim == 1 else 8 * BLOCK_BYTES
        block = max(64, block_bytes // weights.itemsize // members)
        scratch = np.empty((*weights.shape[:-1], min(block, size)), weights.dtype)
        self._blocks = []
        for start in range(0, size, block):
            part = slice(start, start + block)
            arrays = [array[..., part] for array in (weights, gradient, *self.slots.values())]
            self._blocks.append((*arrays, scratch[..., : arrays[0].shape[-1]]))
        self._rate = self._number(0.0, weights.shape[:-1])

    def _number(self, value: Number, members: tuple[int, ...] = ()) -> Floats:
        """Return an array that broadcasts over a block: without axes, or (members, 1)."""
        array = np.array(value, self._dtype)
        if members and array.ndim == 0:
            array = np.full(members, array)
        return array[:, None] if array.ndim else array

    def step(self, learning_rate: Number) -> None:
        """Take one step. learning_rate: a number, or (members, 1)."""
        self.steps += 1
        self._prepare(learning_rate)
        for block in self._blocks:
            self._update(*block)

    def _prepare(self, learning_rate: Number) -> None:
        """Compute the numbers that all blocks of this step share."""
        self._rate[...] = learning_rate

    @abstractmethod
    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        """Take the step on one block."""

    @abstractmethod
    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        """Yield the lines of the next step for the first weight; the last is the new w. Changes nothing. g: dL/dw."""

    def _slot(self, name: str) -> float:
        return float(self.slots[name].flat[0])


def column(number: Number) -> Number:
    """Return a single number as it is, or an array of one number for each member as (members, 1)."""
    return number[:, None] if isinstance(number, np.ndarray) else number


def scaled_by_root(top: Floats, square: Floats, epsilon: Floats, rate: Floats, out: Floats) -> None:
    """Write rate top / (sqrt(square) + epsilon) into `out`."""
    np.sqrt(square, out)
    np.add(out, epsilon, out)
    np.divide(top, out, out)
    np.multiply(out, rate, out)
