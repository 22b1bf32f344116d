"""The residual block: layers with a path that bypasses them."""

from collections.abc import Iterator, Sequence

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.array_names import name_in_layer
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import (
    Activity,
    Keep,
    Layer,
    Source,
    Step,
    Weight,
    backward,
    check_widths,
    empty,
    forward,
    with_ones,
)
from worker.backprop.parameters import Shapes, Views, windows
from worker.errors import QuestionError


class Residual:
    """a = x + layers(x), so that the gradient reaches x undiminished. It has as many units as inputs.

    Source: He et al. (2016), equation 1.
    """

    activation = None
    training_note = None

    def __init__(self, layers: Sequence[Layer]) -> None:
        check_widths([*layers, layers[0]])
        self.layers = tuple(layers)
        self.inputs = self.units = layers[0].inputs
        self.penalised = [name_in_layer(n, name) for n, layer in enumerate(layers) for name in layer.penalised]
        self.running = [name_in_layer(n, name) for n, layer in enumerate(layers) for name in layer.running]

    @property
    def shapes(self) -> Shapes:
        return {
            name_in_layer(n, name): shape for n, layer in enumerate(self.layers) for name, shape in layer.shapes.items()
        }

    def parts(self, views: Views) -> list[tuple[Layer, Views]]:
        """Return each inner layer with its own views of the block's parameters."""
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

    def step(self, views: Views, x: Floats) -> Step:
        inner = forward(self.parts(views), x)
        a: Floats = x + inner[-1].a
        return Step(self, views, x, a, a, inner)

    def grad_x(self, step: Step) -> Floats:
        return step.grad_z + backward(step.inner, step.grad_z)

    def write_gradients(self, step: Step, into: Views) -> None:
        for inner, (layer, own) in zip(step.inner, self.parts(into), strict=True):
            layer.write_gradients(inner, own)

    def locate(self, source: Source, to: int, pointer: str) -> Weight:
        """Refuse: the weights belong to the layers within, which `/weight/inner` names."""
        raise QuestionError("/weight/inner", f"must name one of the {len(self.layers)} layers of the residual block")

    def neuron_slopes(self, step: Step, j: int, row: int) -> None:
        """Return None: a block does not complete neurons."""


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
        # the bypass passes on grad_a itself, which the inner layers may overwrite
        np.copyto(self.grad_x, grad_a)
        for inner in reversed(self.passes):
            grad_a = inner.backward(grad_a)
        self.grad_x += grad_a
        return self.grad_x

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        for inner in self.passes:
            yield from inner.activities()

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        a = x
        for n, inner in enumerate(self.passes):
            a = inner.replay_forward(a, generator, keep.inner(n))
        np.add(a[..., :-1, :], x[..., :-1, :], out=self.a)
        keep("a", self.a)
        return self.out

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        keep("grad_a", grad_a)
        np.copyto(self.grad_x, grad_a)
        for n in reversed(range(len(self.passes))):
            grad_a = self.passes[n].replay_backward(grad_a, keep.inner(n))
        self.grad_x += grad_a
        return self.grad_x
