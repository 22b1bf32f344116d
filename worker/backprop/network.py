"""A network is a list of layers: pure forward, and a training pass through all of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.arrays import Floats, transposed
from worker.backprop.layers.dense import Dense, DensePass
from worker.backprop.layers.frozen import FrozenPass
from worker.backprop.layers.layer import Activity, Layer, Pass, check_widths
from worker.backprop.losses.objective import Objective
from worker.backprop.parameters import Parameters
from worker.errors import ShapeError


class Network:
    """Layers in order; the last is the dense output layer. Holds no weights: they are passed in.

    With a stack's parameters every answer has the members as its first axis.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        check_widths(layers)
        if not layers or not isinstance(layers[-1], Dense):
            raise ShapeError("the last layer must be a dense output layer")
        self.layers = tuple(layers)
        self.output: Dense = layers[-1]
        self.inputs = layers[0].inputs
        self.outputs = layers[-1].units

    def parameters(self, dtype: DTypeLike = np.float32, members: int | None = None) -> Parameters:
        """Zeros in this network's layout, or in that of a stack of such networks."""
        return Parameters([layer.shapes for layer in self.layers], dtype, members)

    def initialize(self, parameters: Parameters, seed: Sequence[int]) -> None:
        """Write the first weights; each layer has a generator of its own."""
        for n, (layer, views) in enumerate(zip(self.layers, parameters.views, strict=True)):
            layer.initialize(views, np.random.default_rng([*seed, n]))

    def trace(self, parameters: Parameters, x: Floats) -> list[Activity]:
        """z and a of every layer, each (rows, units).

        Of a stack (members, rows, units), but for layers before the first that has weights: members differ in nothing
        there, and there is no first axis.
        """
        return [Activity(transposed(z), transposed(a)) for z, a in self.activities(parameters, x)]

    def forward(self, parameters: Parameters, x: Floats) -> Floats:
        """The outputs, (rows, outputs). x: (rows, inputs)."""
        return transposed(self.output.activation.value(self.last_z(parameters, x)))

    def activities(self, parameters: Parameters, x: Floats) -> list[Activity]:
        """z and a of every layer as the engine has them, each (units, rows). x: (rows, inputs)."""
        a, found = self._columns(x), []
        for layer, views in zip(self.layers, parameters.views, strict=True):
            found.append(layer.forward(views, a))
            a = found[-1].a
        return found

    def last_z(self, parameters: Parameters, x: Floats) -> Floats:
        """z of the output layer, (outputs, rows), which is what an objective takes. x: (rows, inputs)."""
        a = self._columns(x)
        for layer, views in zip(self.layers[:-1], parameters.views[:-1], strict=True):
            a = layer.forward(views, a).a
        return self.output.weighted_sum(parameters.views[-1], a)

    def _columns(self, x: Floats) -> Floats:
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"x must be of shape (rows, {self.inputs}), got {x.shape}")
        return x.T


class TrainingPass:
    """Forward and backward through a network on batches of a fixed number of rows, in arrays made once."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        parameters: Parameters,
        gradients: Parameters,
        rows: int,
        *,
        frozen: int = 0,
    ) -> None:
        """frozen: so many of the first layers compute as at prediction, and have no gradient."""
        self.objective = objective
        # the layers before the first whose weights are trained are the data's, whose gradient nobody asks for
        trained = next(n for n, layer in enumerate(network.layers) if layer.shapes and n >= frozen)
        views = zip(network.layers, parameters.views, gradients.views, strict=True)
        passes: list[Pass] = [
            FrozenPass(layer, w, rows) if n < frozen else layer.training_pass(w, g, rows, first=n == trained)
            for n, (layer, w, g) in enumerate(views)
        ]
        self.hidden = passes[:-1]
        self.hidden_backward = self.hidden[trained:][::-1]
        output = passes[-1]
        assert isinstance(output, DensePass)  # noqa: S101 - Network has seen to it
        self.output = output
        self.grad_z = np.empty_like(output.z)
        self.scale = np.asarray(objective.scale(rows, network.outputs), output.z.dtype)

    def __call__(
        self, x: Floats, targets: Floats, weights: Floats | None, z: Floats, generator: np.random.Generator
    ) -> None:
        """Leave the gradient of the loss (see `losses/objective.py`) in the gradients' arrays, and the last z in `z`.

        x: (inputs + 1, rows), a row of ones last; targets: as the objective encodes them; weights: of the rows.
        Forward keeps each layer's x and a; then the chain rule runs from the loss back to the first layer,
        each layer turning dL/da into dL/dz, its own dL/dw and dL/db, and dL/dx, which is the dL/da before it.
        """
        a = x
        for layer in self.hidden:
            a = layer.forward(a, generator)
        self.output.weighted_sum(a, z)
        self.objective.grad_z(z, targets, self.grad_z, self.scale)
        if weights is not None:
            np.multiply(self.grad_z, weights, self.grad_z)
        grad_a = self.output.backward_from_z(self.grad_z)
        for layer in self.hidden_backward:
            grad_a = layer.backward(grad_a)
