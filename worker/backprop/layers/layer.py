"""What a layer is: its parameters, its pure forward, and its pass in training.

`forward` changes nothing: a worker trains with it while a web process with many threads predicts with it.
A training pass adds arrays that are made once per batch size and used again at each step.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.arrays import Floats
from worker.backprop.parameters import Shapes, Views
from worker.errors import ShapeError


class Activity(NamedTuple):
    """What one layer did with a batch, each (..., units, rows): a = f(z), or z and a the same where there is no f."""

    z: Floats
    a: Floats


class Pass(Protocol):
    """One layer at work on batches of a fixed number of rows."""

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        """a from x, keeping what `backward` needs. Both have one more row, of ones: see `with_ones`."""

    def backward(self, grad_a: Floats) -> Floats:
        """Write the layer's gradients and return dL/dx; may overwrite grad_a. grad_a: (..., units, rows).

        The first layer, of which nobody asks dL/dx, may return anything.
        """


class Layer(Protocol):
    inputs: int
    units: int

    @property
    def shapes(self) -> Shapes:
        """Its arrays by name. `w` is what penalties and decay act on."""

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        """Write the first values into the views."""

    def forward(self, views: Views, x: Floats) -> Activity:
        """From x of shape (..., inputs, rows), in inference mode; pure."""

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> Pass:
        """A pass for batches of so many rows; it writes into the gradients' views."""


def check_widths(layers: Sequence[Layer]) -> None:
    """Raise ShapeError unless each layer has as many inputs as the one before it has units."""
    for before, after in pairwise(layers):
        if before.units != after.inputs:
            raise ShapeError(f"a layer of {before.units} units can't feed one of {after.inputs} inputs")


def with_ones(units: int, rows: int, flat: Floats) -> tuple[Floats, Floats]:
    """An array for a layer's output with a last row of ones, and the window on all but that row.

    The row makes the bias one more weight: z = w^T x + b and both of dL/dw and dL/db are one product each. That is
    a quarter of a step of the smallest benchmark network. flat: a layer's parameters, whose members and type count.
    """
    out = np.ones((*flat.shape[:-1], units + 1, rows), flat.dtype)
    return out, out[..., :units, :]


def column(b: Floats) -> Floats:
    """(..., units) as (..., units, 1), which broadcasts over rows."""
    return b[..., None]


def empty(views: Views, units: int, rows: int, dtype: DTypeLike | None = None) -> Floats:
    """An array of (..., units, rows) for a layer with these parameters."""
    return np.empty((*views.flat.shape[:-1], units, rows), dtype or views.flat.dtype)
