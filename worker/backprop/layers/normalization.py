"""Batch and layer normalisation: x is centred and scaled, then stretched and shifted by what is learned.

    n = (x - mean) / sqrt(variance + epsilon),    z = scale n + shift,    a = f(z)

Both differ only in what the mean and the variance are taken over: the rows of a batch, or the units of a row.
"""

import numpy as np

from worker.backprop.activation import Activation
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Activity, column, empty, with_ones
from worker.backprop.parameters import Shapes, Views

ROWS, UNITS = -1, -2


class LayerNorm:
    """Over the units of each row, in training as in prediction. Source: Ba et al. (2016), section 3."""

    axis = UNITS

    def __init__(self, inputs: int, activation: Activation, epsilon: float = 1e-5) -> None:
        self.inputs = self.units = inputs
        self.activation = activation
        self.epsilon = epsilon

    @property
    def shapes(self) -> Shapes:
        return {"scale": (self.units,), "shift": (self.units,)}

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        views["scale"][...] = 1
        views["shift"][...] = 0

    def forward(self, views: Views, x: Floats) -> Activity:
        z = self.stretched(views, self.normalized(views, x))
        return Activity(z, self.activation.value(z))

    def normalized(self, views: Views, x: Floats) -> Floats:
        """n, in inference mode."""
        n = x - x.mean(axis=UNITS, keepdims=True)
        n /= np.sqrt((n * n).mean(axis=UNITS, keepdims=True) + self.epsilon)
        return n

    def stretched(self, views: Views, n: Floats, out: Floats | None = None) -> Floats:
        """z = scale n + shift."""
        z = np.multiply(n, column(views["scale"]), out=out)
        z += column(views["shift"])
        return z

    def observe(self, views: Views, mean: Floats, variance: Floats, rows: int) -> None:
        """Nothing to remember: a row's own units are there at prediction too."""

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "NormPass":
        return NormPass(self, views, gradients, rows)


class BatchNorm(LayerNorm):
    """Over the rows of the batch in training; at prediction over what a running mean remembers of all batches.

    The running variance is the unbiased one, as in PyTorch. It takes no part in the gradient, and a batch of one row,
    which has no variance, leaves it as it is. Source: Ioffe and Szegedy (2015), algorithms 1 and 2.
    """

    axis = ROWS

    def __init__(self, inputs: int, activation: Activation, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__(inputs, activation, epsilon)
        self.momentum = momentum

    @property
    def shapes(self) -> Shapes:
        # the running figures lie with the weights, so that every copy and file of these has them; their gradient is
        # always 0, and an optimizer leaves alone what has none
        names = ("scale", "shift", "mean", "variance")
        return dict.fromkeys(names, (self.units,))

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        super().initialize(views, generator)
        views["mean"][...] = 0
        views["variance"][...] = 1

    def normalized(self, views: Views, x: Floats) -> Floats:
        n = x - column(views["mean"])
        n /= np.sqrt(column(views["variance"]) + self.epsilon)
        return n

    def observe(self, views: Views, mean: Floats, variance: Floats, rows: int) -> None:
        if rows == 1:
            return
        for name, seen in (("mean", mean), ("variance", variance * (rows / (rows - 1)))):
            views[name] += self.momentum * (seen[..., 0] - views[name])


class NormPass:
    def __init__(self, layer: LayerNorm, views: Views, gradients: Views, rows: int) -> None:
        self.layer, self.views, self.gradients = layer, views, gradients
        self.out, self.a = with_ones(layer.units, rows, views.flat)
        self.z = empty(views, layer.units, rows) if layer.activation.keeps_z else self.a
        self.n = empty(views, layer.units, rows)
        self.activation = layer.activation.bound(self.a)

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        layer, n = self.layer, self.n
        mean = x[..., :-1, :].mean(axis=layer.axis, keepdims=True)
        np.subtract(x[..., :-1, :], mean, out=n)
        variance = (n * n).mean(axis=layer.axis, keepdims=True)
        self.deviation = np.sqrt(variance + layer.epsilon)
        n /= self.deviation
        layer.observe(self.views, mean, variance, n.shape[ROWS])
        self.activation.value(layer.stretched(self.views, n, self.z), self.a)
        return self.out

    def backward(self, grad_a: Floats) -> Floats:
        """dL/dx, through z, n, and both of the figures that n depends on.

        Each x moves its own n and, by the mean and the variance, every other n that shares them, so that
        dL/dx = (dL/dn - mean(dL/dn) - n mean(dL/dn n)) / deviation.
        """
        n, axis = self.n, self.layer.axis
        self.activation.grad_z(grad_a, self.z, self.a)
        (grad_a * n).sum(axis=ROWS, out=self.gradients["scale"])
        grad_a.sum(axis=ROWS, out=self.gradients["shift"])
        grad_n = np.multiply(grad_a, column(self.views["scale"]), out=grad_a)
        shared = (grad_n * n).mean(axis=axis, keepdims=True)
        grad_n -= grad_n.mean(axis=axis, keepdims=True)
        grad_n -= np.multiply(n, shared, out=n)
        grad_n /= self.deviation
        return grad_n
