"""A block of layers with a way round it."""

from collections.abc import Sequence

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Activity, Layer, check_widths, empty, with_ones
from worker.backprop.parameters import Shapes, Views, windows


class Residual:
    """a = x + layers(x), whose gradient reaches x undiminished. As many units leave it as enter.

    Source: He et al. (2016), equation 1.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        check_widths([*layers, layers[0]])
        self.layers = tuple(layers)
        self.inputs = self.units = layers[0].inputs

    @property
    def shapes(self) -> Shapes:
        return {
            f"layers.{n}.{name}": shape for n, layer in enumerate(self.layers) for name, shape in layer.shapes.items()
        }

    def parts(self, views: Views) -> list[tuple[Layer, Views]]:
        """Each inner layer with its own windows."""
        return list(zip(self.layers, windows(views.flat, [layer.shapes for layer in self.layers]), strict=True))

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        for layer, own in self.parts(views):
            layer.initialize(own, generator)

    def forward(self, views: Views, x: Floats) -> Activity:
        a = x
        for layer, own in self.parts(views):
            a = layer.forward(own, a).a
        a = a + x
        return Activity(a, a)

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "ResidualPass":
        return ResidualPass(self, views, gradients, rows)


class ResidualPass:
    def __init__(self, layer: Residual, views: Views, gradients: Views, rows: int) -> None:
        own = zip(layer.parts(views), layer.parts(gradients), strict=True)
        self.passes = [inner.training_pass(w, g, rows, first=False) for (inner, w), (_, g) in own]
        self.out, self.a = with_ones(layer.units, rows, views.flat)
        self.grad_x = empty(views, layer.units, rows)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        a = x
        for inner in self.passes:
            a = inner.forward(a, generator)
        np.add(a[..., :-1, :], x[..., :-1, :], out=self.a)
        return self.out

    def backward(self, grad_a: Floats) -> Floats:
        # the way round is grad_a itself, which the layers within may overwrite
        np.copyto(self.grad_x, grad_a)
        for inner in reversed(self.passes):
            grad_a = inner.backward(grad_a)
        self.grad_x += grad_a
        return self.grad_x
