"""Layers: their parameters, their pure forward, and their pass in training.

`forward` changes nothing: a worker trains with it while a web process with many threads predicts with it.
A training pass adds arrays that are made once per batch size and used again at each step.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from worker.backprop.activations import Activation
from worker.backprop.arrays import Floats
from worker.backprop.initializers import Initializer
from worker.backprop.parameters import Shapes

Views = Mapping[str, Floats]


class Pass(Protocol):
    """One layer at work on batches of a fixed number of rows."""

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        """a from x, keeping what `backward` needs."""

    def backward(self, grad_a: Floats) -> Floats | None:
        """Write the layer's gradients; return dL/dx, or None for the first layer, where nobody asks."""


class Layer(Protocol):
    inputs: int
    units: int

    @property
    def shapes(self) -> Shapes:
        """Its parameters by name."""

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        """Write the first weights into the views."""

    def forward(self, views: Views, x: Floats) -> tuple[Floats, Floats]:
        """(z, a) from x of shape (rows, inputs); pure."""

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> Pass:
        """A pass for batches of so many rows; it writes into the gradients' views."""


class Dense:
    """z = x w + b, a = f(z). x: (rows, inputs); w: (inputs, units); b: (units,)."""

    def __init__(self, inputs: int, units: int, activation: Activation, initializer: Initializer) -> None:
        self.inputs = inputs
        self.units = units
        self.activation = activation
        self.initializer = initializer

    @property
    def shapes(self) -> Shapes:
        return {"w": (self.inputs, self.units), "b": (self.units,)}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        views["w"][...] = self.initializer(generator, self.inputs, self.units)
        views["b"][...] = 0

    def weighted_sum(self, views: Views, x: Floats) -> Floats:
        """z = x w + b, (rows, units)."""
        z = x @ views["w"]
        z += views["b"]
        return z

    def forward(self, views: Views, x: Floats) -> tuple[Floats, Floats]:
        z = self.weighted_sum(views, x)
        return z, self.activation.value(z)

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "DensePass":
        return DensePass(self, views, gradients, rows, first=first)


class DensePass:
    def __init__(self, layer: Dense, views: Views, gradients: Views, rows: int, *, first: bool) -> None:
        self.activation = layer.activation
        self.w, self.b = views["w"], views["b"]
        self.grad_w, self.grad_b = gradients["w"], gradients["b"]
        dtype = self.w.dtype
        self.a = np.empty((rows, layer.units), dtype)
        self.grad_z = np.empty((rows, layer.units), dtype)
        self.grad_x = None if first else np.empty((rows, layer.inputs), dtype)

    def weighted_sum(self, x: Floats) -> Floats:
        """z = x w + b, in the array that will hold a."""
        self.x = x
        # np.dot(out=) takes 0.7 us on tiny matrices, where the @ operator takes 1.7
        z = np.dot(x, self.w, out=self.a)
        z += self.b
        return z

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        z = self.weighted_sum(x)
        return self.activation.value(z, out=z)

    def backward(self, grad_a: Floats) -> Floats | None:
        return self.backward_from_z(self.activation.grad_z(grad_a, self.a, out=self.grad_z))

    def backward_from_z(self, grad_z: Floats) -> Floats | None:
        """The rest of the chain, from dL/dz = dL/da x da/dz on.

        z_j = sum_i x_i w_ij + b_j, so dz_j/dw_ij = x_i, dz_j/db_j = 1 and dz_j/dx_i = w_ij; the products sum over rows.
        """
        np.dot(self.x.T, grad_z, out=self.grad_w)
        grad_z.sum(axis=0, out=self.grad_b)
        return None if self.grad_x is None else np.dot(grad_z, self.w.T, out=self.grad_x)


class Dropout:
    """In training a is 0 with probability `rate`, else x / (1 - rate). Source: Srivastava et al. (2014)."""

    def __init__(self, inputs: int, rate: float) -> None:
        self.inputs = self.units = inputs
        self.rate = rate

    @property
    def shapes(self) -> Shapes:
        return {}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        """It has no weights."""

    def forward(self, views: Views, x: Floats) -> tuple[Floats, Floats]:
        return x, x

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "DropoutPass":
        return DropoutPass(self, rows)


class DropoutPass:
    def __init__(self, layer: Dropout, rows: int) -> None:
        self.rate = layer.rate
        self.shape = (rows, layer.units)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        kept = generator.random(self.shape, dtype=np.float32) >= self.rate
        self.mask = kept.astype(x.dtype)
        self.mask /= 1 - self.rate
        return x * self.mask

    def backward(self, grad_a: Floats) -> Floats:
        return grad_a * self.mask
