"""Dropout: random zeros in training, which reduce over-fitting."""

from collections.abc import Iterator, Sequence

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Activity, Keep, Layer, Source, Step, Weight, empty, with_ones
from worker.backprop.parameters import Shapes, Views
from worker.errors import QuestionError


class Dropout:
    """In training, a is 0 with probability `rate`, else x / (1 - rate). Source: Srivastava et al. (2014)."""

    activation = None
    layers: Sequence[Layer] = ()
    penalised = ()
    running = ()
    training_note = "dropout is off, as at prediction; in training a mask multiplies these activations"

    def __init__(self, inputs: int, rate: float) -> None:
        self.inputs = self.units = inputs
        self.rate = rate

    @property
    def shapes(self) -> Shapes:
        return {}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        """Do nothing: dropout has no weights."""

    def forward(self, views: Views, x: Floats) -> Activity:
        return Activity(x, x)

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "DropoutPass":
        return DropoutPass(self, views, rows)

    def step(self, views: Views, x: Floats) -> Step:
        return Step(self, views, x, *self.forward(views, x))

    def grad_x(self, step: Step) -> Floats:
        return step.grad_z

    def write_gradients(self, step: Step, into: Views) -> None:
        """Do nothing: dropout has no weights."""

    def locate(self, source: Source, to: int, pointer: str) -> Weight:
        raise QuestionError(pointer, "is dropout, which has no weights")

    def neuron_slopes(self, step: Step, j: int, row: int) -> None:
        """Return None: dropout does not complete neurons."""


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

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        yield from ()

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        out = self.forward(x, generator)
        keep("mask", self.mask)
        keep("a", self.a)
        return out

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        keep("grad_a", grad_a)
        return self.backward(grad_a)
