"""A network is a list of layers: pure forward, and a training pass through all of them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.arrays import Floats, Integers
from worker.backprop.layers import Dense, DensePass, Layer, Pass
from worker.backprop.losses import Objective
from worker.backprop.parameters import Parameters
from worker.errors import ShapeError


class Activity(NamedTuple):
    """What one layer did with a batch: z and a, each (rows, units)."""

    z: Floats
    a: Floats


class Network:
    """Layers in order; the last is the dense output layer. Holds no weights: they are passed in."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        for before, after in pairwise(layers):
            if before.units != after.inputs:
                raise ShapeError(f"a layer of {before.units} units can't feed one of {after.inputs} inputs")
        if not layers or not isinstance(layers[-1], Dense):
            raise ShapeError("the last layer must be a dense output layer")
        self.layers = tuple(layers)
        self.output: Dense = layers[-1]
        self.inputs = layers[0].inputs
        self.outputs = layers[-1].units

    def parameters(self, dtype: DTypeLike = np.float32) -> Parameters:
        """Zeros in this network's layout."""
        return Parameters([layer.shapes for layer in self.layers], dtype)

    def initialize(self, parameters: Parameters, seed: Sequence[int]) -> None:
        """Write the first weights; each layer has a generator of its own, so that adding a layer moves no other's."""
        for n, (layer, views) in enumerate(zip(self.layers, parameters.views, strict=True)):
            layer.initialize(views, np.random.default_rng([*seed, n]))

    def trace(self, parameters: Parameters, x: Floats) -> list[Activity]:
        """z and a of every layer. x: (rows, inputs)."""
        self._check(x)
        activities = []
        for layer, views in zip(self.layers, parameters.views, strict=True):
            z, x = layer.forward(views, x)
            activities.append(Activity(z, x))
        return activities

    def forward(self, parameters: Parameters, x: Floats) -> Floats:
        """The outputs, (rows, outputs). x: (rows, inputs)."""
        return self.output.activation.value(self.last_z(parameters, x))

    def last_z(self, parameters: Parameters, x: Floats) -> Floats:
        """z of the output layer, which is what an objective takes."""
        self._check(x)
        *hidden, output = zip(self.layers, parameters.views, strict=True)
        for layer, views in hidden:
            x = layer.forward(views, x)[1]
        return self.output.weighted_sum(output[1], x)

    def _check(self, x: Floats) -> None:
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"x must be of shape (rows, {self.inputs}), got {x.shape}")


class TrainingPass:
    """Forward and backward through a network on batches of a fixed number of rows, in arrays made once."""

    def __init__(
        self, network: Network, objective: Objective, parameters: Parameters, gradients: Parameters, rows: int
    ) -> None:
        self.objective = objective
        views = zip(network.layers, parameters.views, gradients.views, strict=True)
        passes = [layer.training_pass(w, g, rows, first=n == 0) for n, (layer, w, g) in enumerate(views)]
        self.hidden: list[Pass] = passes[:-1]
        output = passes[-1]
        assert isinstance(output, DensePass)  # noqa: S101 - Network has seen to it
        self.output = output

    def __call__(self, x: Floats, targets: Floats | Integers, generator: np.random.Generator) -> float:
        """The batch's mean loss; its gradient is in the gradients' arrays.

        Forward keeps each layer's x and a; then the chain rule runs from the loss back to the first layer,
        each layer turning dL/da into dL/dz, its own dL/dw and dL/db, and dL/dx, which is the dL/da before it.
        """
        a = x
        for layer in self.hidden:
            a = layer.forward(a, generator)
        z = self.output.weighted_sum(a)
        loss = self.objective.value_and_grad_z(z, targets, out=self.output.grad_z)
        grad_a = self.output.backward_from_z(self.output.grad_z)
        for layer in reversed(self.hidden):
            if grad_a is None:
                break
            grad_a = layer.backward(grad_a)
        return loss
