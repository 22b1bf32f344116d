"""A layer that training does not touch."""

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Layer, with_ones
from worker.backprop.parameters import Views


class FrozenPass:
    """Computes as at prediction: batch_norm by its running figures, which stay; dropout not at all. Has no backward.

    A frozen normalisation that still looked at its batch, or moved its figures, would not be the layer that was frozen.
    """

    def __init__(self, layer: Layer, views: Views, rows: int) -> None:
        self.layer, self.views = layer, views
        self.out, self.a = with_ones(layer.units, rows, views.flat)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        np.copyto(self.a, self.layer.forward(self.views, x[..., :-1, :]).a)
        return self.out

    def backward(self, grad_a: Floats) -> Floats:
        """Never asked for: nothing before a frozen layer is trained."""
        raise NotImplementedError
