"""A category as a point in space, which training moves."""

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Activity, empty, with_ones
from worker.backprop.parameters import Shapes, Views


class Embedding:
    """One of the inputs is a category's number; its row of w takes the place of it, behind the other inputs.

    w: (categories + 1, dimensions). The last row stands for a category that training never saw, and stays 0.
    Source: Bengio et al. (2003), section 2; for tables: Guo and Berkhahn (2016).
    """

    def __init__(self, inputs: int, position: int, categories: int, dimensions: int) -> None:
        self.inputs, self.units = inputs, inputs - 1 + dimensions
        self.position, self.categories, self.dimensions = position, categories, dimensions
        self.kept = [n for n in range(inputs) if n != position]

    @property
    def shapes(self) -> Shapes:
        return {"w": (self.categories + 1, self.dimensions)}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        # points about as far from each other as standardised numbers are
        views["w"][...] = generator.normal(0, 1, views["w"].shape) / np.sqrt(self.dimensions)
        views["w"][..., -1, :] = 0

    def forward(self, views: Views, x: Floats) -> Activity:
        a = empty(views, self.units, x.shape[-1])
        self.write(views["w"], x, a)
        return Activity(a, a)

    def write(self, w: Floats, x: Floats, a: Floats) -> None:
        """The other inputs, then the points."""
        a[..., : len(self.kept), :] = x[..., self.kept, :]
        for member in np.ndindex(w.shape[:-2]):
            a[member][len(self.kept) :] = w[member][self.codes(x, member)].T

    def codes(self, x: Floats, member: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Each row's category. x is one for all members of a stack at prediction, and one for each in training."""
        return (x[member] if x.ndim > 2 else x)[self.position].astype(np.intp)

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "EmbeddingPass":
        return EmbeddingPass(self, views, gradients, rows)


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
        """a = w[category], so dL/dw is the sum of dL/da over the rows of each category; a number has no derivative."""
        kept = len(self.layer.kept)
        self.grad_w[...] = 0
        for member in np.ndindex(self.w.shape[:-2]):
            np.add.at(self.grad_w[member], self.layer.codes(self.x, member), grad_a[member][kept:].T)
        self.grad_w[..., -1, :] = 0
        self.grad_x[..., self.layer.kept, :] = grad_a[..., :kept, :]
        return self.grad_x
