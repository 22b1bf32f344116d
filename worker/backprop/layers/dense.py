"""The weighted sum and its activation: where the equation that all of this serves is computed."""

import numpy as np

from worker.backprop.activation import Activation
from worker.backprop.arrays import Floats, dot, transposed
from worker.backprop.initializers import Initializer
from worker.backprop.layers.layer import Activity, column, empty, with_ones
from worker.backprop.parameters import Shapes, Views


class Dense:
    """z = w^T x + b, a = f(z). w: (inputs, units); b: (units,)."""

    def __init__(self, inputs: int, units: int, activation: Activation, initializer: Initializer) -> None:
        self.inputs = inputs
        self.units = units
        self.activation = activation
        self.initializer = initializer

    @property
    def shapes(self) -> Shapes:
        # b lies behind the last row of w: together they are one (inputs + 1, units) matrix
        return {"w": (self.inputs, self.units), "b": (self.units,)}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        views["w"][...] = self.initializer(generator, self.inputs, self.units)
        views["b"][...] = 0

    def weighted_sum(self, views: Views, x: Floats) -> Floats:
        """z, (..., units, rows)."""
        z = dot(transposed(views["w"]), x)
        z += column(views["b"])
        return z

    def forward(self, views: Views, x: Floats) -> Activity:
        z = self.weighted_sum(views, x)
        return Activity(z, self.activation.value(z))

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "DensePass":
        return DensePass(self, views, gradients, rows, first=first)


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
        """z = w^T x + b, the bias being the weight of x's row of ones."""
        self.x = x
        return self.dot(self.w_and_b, x, out)

    def backward(self, grad_a: Floats) -> Floats:
        # dL/dz_j = dL/da_j x da_j/dz_j
        self.activation.grad_z(grad_a, self.z, self.a)
        return self.backward_from_z(grad_a)

    def backward_from_z(self, grad_z: Floats) -> Floats:
        """The last two products of the chain rule, from dL/dz on.

        z_j = sum_i x_i w_ij + b_j, so dz_j/dw_ij = x_i, dz_j/db_j = 1 and dz_j/dx_i = w_ij; the products sum over rows.
        """
        # dL/dw_ij = dL/dz_j x x_i
        self.dot(self.x, grad_z.swapaxes(-1, -2), self.grad_w_and_b)
        # dL/dx_i = sum_j dL/dz_j x w_ij, the dL/da of the layer before
        return grad_z if self.grad_x is None else self.dot(self.w, grad_z, self.grad_x)
