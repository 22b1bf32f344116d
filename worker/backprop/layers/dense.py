"""The weighted sum and its activation, where the equation of this project is computed."""

from collections.abc import Iterator, Sequence

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats, dot, transposed
from worker.backprop.initializers import Initializer
from worker.backprop.layers.layer import (
    Activity,
    Keep,
    Layer,
    Source,
    Step,
    Weight,
    check_position,
    column,
    empty,
    with_ones,
)
from worker.backprop.parameters import Shapes, Views


class Dense:
    """z = w^T x + b, a = f(z). w: (inputs, units); b: (units,)."""

    layers: Sequence[Layer] = ()
    penalised = ("w",)
    running = ()
    training_note = None

    def __init__(self, inputs: int, units: int, activation: Activation, initializer: Initializer) -> None:
        self.inputs = inputs
        self.units = units
        self.activation = activation
        self.initializer = initializer

    @property
    def shapes(self) -> Shapes:
        # b follows the last row of w in memory: together they are one (inputs + 1, units) matrix
        return {"w": (self.inputs, self.units), "b": (self.units,)}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        views["w"][...] = self.initializer(generator, self.inputs, self.units)
        views["b"][...] = 0

    def weighted_sum(self, views: Views, x: Floats) -> Floats:
        """Return z, (..., units, rows)."""
        z = dot(transposed(views["w"]), x)
        z += column(views["b"])
        return z

    def forward(self, views: Views, x: Floats) -> Activity:
        z = self.weighted_sum(views, x)
        return Activity(z, self.activation.value(z))

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "DensePass":
        return DensePass(self, views, gradients, rows, first=first)

    def step(self, views: Views, x: Floats) -> Step:
        return Step(self, views, x, *self.forward(views, x))

    def grad_x(self, step: Step) -> Floats:
        # dz_k/dx_i = w_ik
        return step.views["w"] @ step.grad_z

    def write_gradients(self, step: Step, into: Views) -> None:
        into["w"][...] = step.x @ step.grad_z.T / step.x.shape[1]
        into["b"][...] = step.grad_z.mean(axis=1)

    def locate(self, source: Source, to: int, pointer: str) -> Weight:
        """z_j = sum_i x_i w_ij + b_j, so dz_j/dw_ij = x_i and dz_j/db_j = 1."""
        check_position("/weight/to", to, self.units)
        if source == "bias":
            return Weight("b", (to,), to, lambda step: np.ones_like(step.x[0]))
        i = check_position("/weight/from", source, self.inputs, ' or "bias"')
        return Weight("w", (i, to), to, lambda step: step.x[i])

    def neuron_slopes(self, step: Step, j: int, row: int) -> None:
        """Return None: a weighted sum begins neurons and does not complete those of another layer."""


class DensePass:
    def __init__(self, layer: Dense, views: Views, gradients: Views, rows: int, *, first: bool) -> None:
        members = views.flat.shape[:-1]
        shape = (*members, layer.inputs + 1, layer.units)
        self.w = views["w"]
        self.w_and_b = transposed(views.flat.reshape(shape))
        self.grad_w_and_b = gradients.flat.reshape(shape)
        self.dot = np.matmul if members else np.ndarray.dot
        self.out, self.a = with_ones(layer.units, rows, views.flat)
        self.z = empty(views, layer.units, rows) if layer.activation.keeps_z else self.a
        self.grad_x = None if first else empty(views, layer.inputs, rows)
        self.activation = layer.activation.bound(self.a)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        self.activation.value(self.weighted_sum(x, self.z), self.a)
        return self.out

    def weighted_sum(self, x: Floats, out: Floats) -> Floats:
        """Write z = w^T x + b into `out` and return it; the bias is the weight of x's row of ones."""
        self.x = x
        return self.dot(self.w_and_b, x, out)

    def backward(self, grad_a: Floats) -> Floats:
        # dL/dz_j = dL/da_j x da_j/dz_j
        self.activation.grad_z(grad_a, self.z, self.a)
        return self.backward_from_z(grad_a)

    def backward_from_z(self, grad_z: Floats) -> Floats:
        """Write dL/dw and dL/db and return dL/dx: the last two products of the chain rule, summed over the rows.

        z_j = sum_i x_i w_ij + b_j, so dz_j/dw_ij = x_i, dz_j/db_j = 1 and dz_j/dx_i = w_ij.
        """
        # dL/dw_ij = dL/dz_j x x_i
        self.dot(self.x, grad_z.swapaxes(-1, -2), self.grad_w_and_b)
        # dL/dx_i = sum_j dL/dz_j x w_ij, which is the dL/da of the layer before
        return grad_z if self.grad_x is None else self.dot(self.w, grad_z, self.grad_x)

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        yield self.activation, self.a

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        keep("z", self.weighted_sum(x, self.z))
        self.activation.value(self.z, self.a)
        keep("a", self.a)
        return self.out

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        keep("grad_a", grad_a)
        grad_x = self.backward(grad_a)
        # the array that held dL/da holds dL/dz now
        keep("grad_z", grad_a)
        return grad_x
