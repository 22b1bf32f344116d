"""Losses, each joined with the activation before it: from the last z to the mean loss and dL/dz.

z: (rows, units), any real numbers; `out` receives dL/dz, already divided by rows.
"""

from typing import Protocol

import numpy as np

from worker.backprop.activations import Activation, Softmax
from worker.backprop.arrays import Floats, Integers
from worker.errors import ShapeError


class Objective(Protocol):
    activation: Activation

    def value(self, z: Floats, targets: Floats | Integers) -> float:
        """The mean loss over the rows."""

    def value_and_grad_z(self, z: Floats, targets: Floats | Integers, out: Floats) -> float:
        """The mean loss, and dL/dz in `out`."""


class SoftmaxCrossEntropy:
    """Mean of -log a_label with a = softmax(z), in nats. labels: (rows,), integers in [0, units).

    The long product dL/da x da/dz collapses to a - y. Source: Bishop (2006), equation 4.109.
    """

    activation: Activation = Softmax()

    def value(self, z: Floats, targets: Floats | Integers) -> float:
        return self.value_and_grad_z(z, targets, np.empty_like(z))

    def value_and_grad_z(self, z: Floats, targets: Floats | Integers, out: Floats) -> float:
        check_rows(z, targets)
        rows = np.arange(len(z))
        # shift by the row maximum: exp cannot overflow and softmax is unchanged
        shifted = np.subtract(z, z.max(axis=1, keepdims=True), out=out)
        of_label = shifted[rows, targets]
        exponentials = np.exp(shifted, out=out)
        sums = exponentials.sum(axis=1)
        # log sum e^z - z_label: finite where -log(a_label) would underflow
        loss = float(np.log(sums).sum() - of_label.sum()) / len(z)
        out /= sums[:, None]
        out[rows, targets] -= 1
        out /= len(z)
        return loss


class MeanSquaredError:
    """Mean of (a - y)^2 over rows and outputs, a = f(z) for any activation f. targets: the shape of z."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def value(self, z: Floats, targets: Floats | Integers) -> float:
        check_rows(z, targets)
        error = self.activation.value(z) - targets
        return float(np.vdot(error, error)) / error.size

    def value_and_grad_z(self, z: Floats, targets: Floats | Integers, out: Floats) -> float:
        check_rows(z, targets)
        a = self.activation.value(z)
        error = a - targets
        loss = float(np.vdot(error, error)) / error.size
        grad_a = error
        grad_a *= z.dtype.type(2 / error.size)
        self.activation.grad_z(grad_a, a, out=out)
        return loss


def check_rows(z: Floats, targets: Floats | Integers) -> None:
    """Raise ShapeError unless there is one target a row."""
    if len(z) != len(targets):
        raise ShapeError(f"{len(z)} rows but {len(targets)} targets")
