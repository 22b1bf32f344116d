"""The embedding layer: each category becomes a vector, which is learned."""

from collections.abc import Iterator, Sequence

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Activity, Keep, Layer, Source, Step, Weight, check_position, empty, with_ones
from worker.backprop.parameters import Shapes, Views
from worker.errors import QuestionError


class Embedding:
    """Replaces one input, the number of a category, by that category's row of w, placed after the other inputs.

    w: (categories + 1, dimensions). The last row is for a category that training never saw, and stays 0.
    Source: Bengio et al. (2003), section 2; for tables: Guo and Berkhahn (2016).
    """

    activation = None
    layers: Sequence[Layer] = ()
    penalised = ("w",)
    running = ()
    training_note = None

    def __init__(self, inputs: int, position: int, categories: int, dimensions: int) -> None:
        self.inputs, self.units = inputs, inputs - 1 + dimensions
        self.position, self.categories, self.dimensions = position, categories, dimensions
        self.kept = [n for n in range(inputs) if n != position]

    @property
    def shapes(self) -> Shapes:
        return {"w": (self.categories + 1, self.dimensions)}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        # vectors about as far from each other as standardised numbers are
        views["w"][...] = generator.normal(0, 1, views["w"].shape) / np.sqrt(self.dimensions)
        views["w"][..., -1, :] = 0

    def forward(self, views: Views, x: Floats) -> Activity:
        a = empty(views, self.units, x.shape[-1])
        self.write(views["w"], x, a)
        return Activity(a, a)

    def write(self, w: Floats, x: Floats, a: Floats) -> None:
        """Write the other inputs, then the categories' vectors, into a."""
        a[..., : len(self.kept), :] = x[..., self.kept, :]
        for member in np.ndindex(w.shape[:-2]):
            a[member][len(self.kept) :] = w[member][self.codes(x, member)].T

    def codes(self, x: Floats, member: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Return each row's category. A stack's members share x at prediction; in training each has its own."""
        return (x[member] if x.ndim > 2 else x)[self.position].astype(np.intp)

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "EmbeddingPass":
        return EmbeddingPass(self, views, gradients, rows)

    def step(self, views: Views, x: Floats) -> Step:
        return Step(self, views, x, *self.forward(views, x))

    def grad_x(self, step: Step) -> Floats:
        """Return dL/dx; it is 0 for the category's number, which has no derivative."""
        grad_x = np.zeros_like(step.x)
        grad_x[self.kept] = step.grad_z[: len(self.kept)]
        return grad_x

    def write_gradients(self, step: Step, into: Views) -> None:
        np.add.at(into["w"], self.codes(step.x, ()), step.grad_z[len(self.kept) :].T / step.x.shape[1])
        into["w"][-1] = 0

    def locate(self, source: Source, to: int, pointer: str) -> Weight:
        """z is the category's own row of w, so dz/dw is 1 for the rows of that category and 0 for all others."""
        check_position("/weight/to", to, self.dimensions)
        if source == self.categories:
            detail = "is the vector for categories that training never saw, which is not trained and stays 0"
            raise QuestionError("/weight/from", detail)
        category = check_position("/weight/from", source, self.categories, ", the number of a category")

        def dz_dw(step: Step) -> Floats:
            return (self.codes(step.x, ()) == category).astype(step.x.dtype)

        return Weight("w", (category, to), len(self.kept) + to, dz_dw)

    def neuron_slopes(self, step: Step, j: int, row: int) -> None:
        """Return None: an embedding does not complete neurons."""


class EmbeddingPass:
    def __init__(self, layer: Embedding, views: Views, gradients: Views, rows: int) -> None:
        self.layer, self.w, self.grad_w = layer, views["w"], gradients["w"]
        self.out, self.a = with_ones(layer.units, rows, views.flat)
        self.grad_x = np.zeros((*views.flat.shape[:-1], layer.inputs, rows), views.flat.dtype)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        self.x = x
        self.layer.write(self.w, x, self.a)
        return self.out

    def backward(self, grad_a: Floats) -> Floats:
        """a = w[category], so dL/dw sums dL/da over the rows of each category; a category's number has dL/dx = 0."""
        kept = len(self.layer.kept)
        self.grad_w[...] = 0
        for member in np.ndindex(self.w.shape[:-2]):
            np.add.at(self.grad_w[member], self.layer.codes(self.x, member), grad_a[member][kept:].T)
        self.grad_w[..., -1, :] = 0
        self.grad_x[..., self.layer.kept, :] = grad_a[..., :kept, :]
        return self.grad_x

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        yield from ()

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        out = self.forward(x, generator)
        keep("a", self.a)
        return out

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        keep("grad_a", grad_a)
        return self.backward(grad_a)
