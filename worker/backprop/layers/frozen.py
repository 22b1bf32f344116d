"""The pass of a layer whose weights training leaves alone."""

from collections.abc import Iterator

import numpy as np

from worker.backprop.activation import Activation
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Keep, Layer, with_ones
from worker.backprop.parameters import Views


class FrozenPass:
    """Computes as at prediction: batch_norm uses its running figures, which stay, and dropout does nothing.

    A frozen normalisation that still looked at its batch, or moved its figures, would not be the layer that was frozen.
    Nothing before a frozen layer is trained, so it has no backward pass.
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
