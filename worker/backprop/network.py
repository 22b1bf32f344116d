"""A network is a list of layers: a pure forward pass, and a training pass through all of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.activation_base import Activation
from worker.backprop.array_names import layer_name
from worker.backprop.arrays import Floats, transposed
from worker.backprop.batches import Batch
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.layer import Activity, Keep, Layer, Pass, check_widths, with_ones
from worker.backprop.losses.objective import Objective
from worker.backprop.parameters import Parameters, Views
from worker.errors import ShapeError


class Network:
    """Layers in order, the last being the dense output layer. A network holds no weights: they are passed in.

    With a stack's parameters, every array that is returned has the members as its first axis.
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
        """Return zeros in this network's layout, or in that of a stack of such networks."""
        return Parameters([layer.shapes for layer in self.layers], dtype, members)

    def initialize(self, parameters: Parameters, seed: Sequence[int]) -> None:
        """Write the first weights. Each layer has a generator of its own, seeded by `seed` and its position."""
        for n, (layer, views) in enumerate(zip(self.layers, parameters.views, strict=True)):
            layer.initialize(views, np.random.default_rng([*seed, n]))

    def forward(self, parameters: Parameters, x: Floats) -> Floats:
        """Return the outputs, (rows, outputs). x: (rows, inputs)."""
        return transposed(self.output.activation.value(self.last_z(parameters, x)))

    def activities(self, parameters: Parameters, x: Floats) -> list[Activity]:
        """Return z and a of every layer in the engine's layout, each (units, rows). x: (rows, inputs)."""
        a, found = self._columns(x), []
        for layer, views in zip(self.layers, parameters.views, strict=True):
            found.append(layer.forward(views, a))
            a = found[-1].a
        return found

    def last_z(self, parameters: Parameters, x: Floats) -> Floats:
        """Return z of the output layer, (outputs, rows), which an objective takes. x: (rows, inputs)."""
        a = self._columns(x)
        for layer, views in zip(self.layers[:-1], parameters.views[:-1], strict=True):
            a = layer.forward(views, a).a
        return self.output.weighted_sum(parameters.views[-1], a)

    def _columns(self, x: Floats) -> Floats:
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"x must be of shape (rows, {self.inputs}), got {x.shape}")
        return x.T


class TrainingPass:
    """Runs batches of a fixed number of rows forward and backward through a network, in arrays allocated once."""

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
        """frozen: how many of the first layers keep their weights; they compute as at prediction."""
        self.objective = objective
        # nothing before the first layer with trained weights needs a gradient
        trained = next(n for n, layer in enumerate(network.layers) if layer.shapes and n >= frozen)
        *hidden, (w, g) = zip(parameters.views, gradients.views, strict=True)
        self.hidden: list[Pass] = [
            FrozenPass(layer, w, rows) if n < frozen else layer.training_pass(w, g, rows, first=n == trained)
            for n, (layer, (w, g)) in enumerate(zip(network.layers[:-1], hidden, strict=True))
        ]
        self.hidden_backward = self.hidden[trained:][::-1]
        self.output = network.output.training_pass(w, g, rows, first=trained == len(hidden))
        self.grad_z = np.empty_like(self.output.z)
        self.scale = np.asarray(objective.scale(rows, network.outputs), self.output.z.dtype)

    def __call__(
        self, x: Floats, targets: Floats, weights: Floats | None, z: Floats, generator: np.random.Generator
    ) -> None:
        """Write the gradient of the loss (see `losses/objective.py`) into the gradients' arrays, and the last z into z.

        x: (inputs + 1, rows), the last row being ones. targets: as the objective encodes them. weights: one for each
        row. The forward pass keeps each layer's x and a. Then the chain rule runs from the loss back to the first
        layer: each layer turns dL/da into dL/dz, its own dL/dw and dL/db, and dL/dx, which is dL/da of the layer
        before it.
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

    def replay(self, batch: Batch, generator: np.random.Generator, kept: dict[str, Floats]) -> None:
        """Do exactly what a call does, and keep a copy of what each line made. For a single network.

        kept: receives `x`, `targets` and `row_weights`, and each layer's tensors under names like `grad_a.layers.1`.
        """
        x, targets, weights, z = batch
        kept |= {"x": transposed(x[:-1]).copy(), "targets": transposed(targets).copy()}
        if weights is not None:
            kept["row_weights"] = weights.ravel().copy()
        keeps = [Keep(kept, layer_name(n)) for n in range(len(self.hidden) + 1)]
        a = x
        for layer, keep in zip(self.hidden, keeps, strict=False):
            a = layer.replay_forward(a, generator, keep)
        keep = keeps.pop()
        self.output.weighted_sum(a, z)
        keep("z", z)
        keep("a", self.objective.activation.value(z.copy()))
        self.objective.grad_z(z, targets, self.grad_z, self.scale)
        if weights is not None:
            np.multiply(self.grad_z, weights, self.grad_z)
        keep("grad_z", self.grad_z)
        grad_a = self.output.backward_from_z(self.grad_z)
        # the layers before the first trained one have no backward pass
        for layer, keep in zip(self.hidden_backward, reversed(keeps), strict=False):
            grad_a = layer.replay_backward(grad_a, keep)


class FrozenPass:
    """Runs a layer whose weights training does not change. It computes as at prediction.

    batch_norm uses its running figures and does not update them, and dropout does nothing: otherwise the layer would
    not be the one that was frozen. Nothing before a frozen layer is trained, so it has no backward pass.
    """

    def __init__(self, layer: Layer, views: Views, rows: int) -> None:
        self.layer, self.views = layer, views
        self.out, self.a = with_ones(layer.units, rows, views.flat)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        np.copyto(self.a, self.layer.forward(self.views, x[..., :-1, :]).a)
        return self.out

    def backward(self, grad_a: Floats) -> Floats:
        raise NotImplementedError

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        """Yield nothing: no trained weight moves a frozen layer's activations."""
        yield from ()

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        out = self.forward(x, generator)
        keep("a", self.a)
        return out

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        raise NotImplementedError
