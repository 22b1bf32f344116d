"""Batch and layer normalisation: x is centred and scaled, then stretched and shifted by learned numbers.

    n = (x - mean) / sqrt(variance + epsilon),    z = scale n + shift,    a = f(z)

They differ in what the mean and the variance are taken over: the rows of a batch, or the units of a row.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import (
    Activity,
    Keep,
    Layer,
    Source,
    Step,
    Weight,
    check_position,
    column,
    empty,
    with_ones,
)
from worker.backprop.parameters import Shapes, Views
from worker.errors import QuestionError

ROWS, UNITS = -1, -2


class LayerNorm:
    """Normalises over the units of each row, in training as at prediction. Source: Ba et al. (2016), section 3."""

    axis = UNITS
    layers: Sequence[Layer] = ()
    penalised = ()
    running: Sequence[str] = ()
    training_note: str | None = None

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
        """Return n in inference mode."""
        n = x - x.mean(axis=UNITS, keepdims=True)
        n /= np.sqrt((n * n).mean(axis=UNITS, keepdims=True) + self.epsilon)
        return n

    def stretched(self, views: Views, n: Floats, out: Floats | None = None) -> Floats:
        """Return z = scale n + shift."""
        z = np.multiply(n, column(views["scale"]), out=out)
        z += column(views["shift"])
        return z

    def observe(self, views: Views, mean: Floats, variance: Floats, rows: int) -> None:
        """Do nothing: at prediction a row is normalised over its own units too."""

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> "NormPass":
        return NormPass(self, views, gradients, rows)

    def deviation(self, step: Step) -> Floats:
        """Return the divisor of x - mean: (1, rows), or (units, 1) in batch_norm."""
        return np.sqrt(step.x.var(axis=UNITS, keepdims=True) + self.epsilon)

    def step(self, views: Views, x: Floats) -> Step:
        return Step(self, views, x, *self.forward(views, x))

    def grad_x(self, step: Step) -> Floats:
        """Return dL/dx. Each x affects its own n and, through its row's mean and variance, all others in the row."""
        grad_n, n = step.grad_z * column(step.views["scale"]), self.normalized(step.views, step.x)
        shared = grad_n.mean(axis=UNITS, keepdims=True) + n * (grad_n * n).mean(axis=UNITS, keepdims=True)
        return (grad_n - shared) / self.deviation(step)

    def write_gradients(self, step: Step, into: Views) -> None:
        into["scale"][...] = (step.grad_z * self.normalized(step.views, step.x)).mean(axis=1)
        into["shift"][...] = step.grad_z.mean(axis=1)

    def locate(self, source: Source, to: int, pointer: str) -> Weight:
        """z_j = scale_j n_j + shift_j, so dz_j/dscale_j = n_j and dz_j/dshift_j = 1."""
        check_position("/weight/to", to, self.units)
        match source:
            case "scale":
                return Weight("scale", (to,), to, lambda step: self.normalized(step.views, step.x)[to])
            case "shift":
                return Weight("shift", (to,), to, lambda step: np.ones_like(step.x[0]))
        raise QuestionError("/weight/from", 'must be "scale" or "shift": the layer is a normalisation')

    def neuron_slopes(self, step: Step, j: int, row: int) -> float | Floats:
        """dz_k/dx_j = scale_k (delta_kj - 1/U - n_k n_j / U) / deviation, over the U units of the row.

        x_j moves z_k by n_j itself, by the mean and by the variance.
        """
        own = np.zeros(self.units)
        own[j] = 1
        n = self.normalized(step.views, step.x)[:, row]
        return step.views["scale"] * (own - 1 / len(n) - n * n[j] / len(n)) / self.deviation(step)[0, row]


class BatchNorm(LayerNorm):
    """Normalises over the rows of the batch in training, and with a running mean and variance at prediction.

    The running variance is the unbiased one, as in PyTorch. The running figures have no gradient, and a batch of one
    row, which has no variance, leaves them as they are. Source: Ioffe and Szegedy (2015), algorithms 1 and 2.
    """

    axis = ROWS
    running = ("mean", "variance")
    training_note = "batch_norm uses its running mean and variance, as at prediction; in training a batch's own"

    def __init__(self, inputs: int, activation: Activation, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__(inputs, activation, epsilon)
        self.momentum = momentum

    @property
    def shapes(self) -> Shapes:
        # the running figures are stored with the weights, so that every copy and file has them; their gradient is
        # always 0, so an optimizer leaves them as they are
        return dict.fromkeys(("scale", "shift", *self.running), (self.units,))

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

    def deviation(self, step: Step) -> Floats:
        return column(np.sqrt(step.views["variance"] + self.epsilon))

    def grad_x(self, step: Step) -> Floats:
        # the running figures do not depend on x
        return step.grad_z * (column(step.views["scale"]) / self.deviation(step))

    def neuron_slopes(self, step: Step, j: int, row: int) -> float:
        """dz_j/dx_j = scale_j / deviation_j at prediction."""
        return float(step.views["scale"][j] / self.deviation(step)[j, 0])


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
        """Return dL/dx, through z, n, and the two figures that n depends on.

        Each x affects its own n and, through the mean and the variance, every other n that shares them:
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

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        yield self.activation, self.a

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        out = self.forward(x, generator)
        keep("n", self.n)
        # self.z may be a's own array, which holds a by now
        keep("z", self.layer.stretched(self.views, self.n))
        keep("a", self.a)
        return out

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        keep("grad_a", grad_a)
        grad_z = grad_a.copy()
        z = self.z.copy() if self.layer.activation.keeps_z else self.a.copy()
        self.layer.activation.grad_z(grad_z, z, self.a.copy())
        keep("grad_z", grad_z)
        return self.backward(grad_a)
