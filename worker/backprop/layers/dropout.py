"""Dropout: noise against over-fitting."""

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Activity, empty, with_ones
from worker.backprop.parameters import Shapes, Views


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

    def forward(self, views: Views, x: Floats) -> Activity:
        return Activity(x, x)

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "DropoutPass":
        return DropoutPass(self, views, rows)


class DropoutPass:
    def __init__(self, layer: Dropout, views: Views, rows: int) -> None:
        self.rate = layer.rate
        self.out, self.a = with_ones(layer.units, rows, views.flat)
        self.mask = empty(views, layer.units, rows)
        self.drawn = empty(views, layer.units, rows, np.float32)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        generator.random(out=self.drawn, dtype=np.float32)
        np.divide(self.drawn >= self.rate, 1 - self.rate, out=self.mask, casting="same_kind")
        np.multiply(x[..., :-1, :], self.mask, out=self.a)
        return self.out

    def backward(self, grad_a: Floats) -> Floats:
        grad_a *= self.mask
        return grad_a
