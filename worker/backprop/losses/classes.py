"""Cross-entropy: of one class among several, and of yes-or-no questions."""

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.activations import Sigmoid, Softmax
from worker.backprop.arrays import Floats, Targets
from worker.backprop.losses.objective import Objective, are_labels, one_hot, over_outputs


class SoftmaxCrossEntropy(Objective):
    """-log a_label with a = softmax(z), in nats.

    The long product dL/da x da/dz collapses to a - y. Source: Bishop (2006), equation 4.109.
    smoothing: a share of each target that is spread over all classes. Source: Szegedy et al. (2016), section 7.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__(Softmax())
        self.smoothing = smoothing

    def encode(self, y: Targets, units: int, dtype: DTypeLike) -> Floats:
        targets = one_hot(y, units, dtype)
        if self.smoothing:
            targets *= 1 - self.smoothing
            targets += self.smoothing / units
        return targets

    def scale(self, rows: int, units: int) -> float:
        return 1 / rows

    def losses(self, z: Floats, y: Targets) -> Floats:
        shifted = z - z.max(axis=-2, keepdims=True)
        # one y may do for all members of a stack
        labels = np.broadcast_to(y, (*z.shape[:-2], z.shape[-1]))
        of_label = np.take_along_axis(shifted, labels[..., None, :], axis=-2)[..., 0, :]
        of_all = shifted.mean(axis=-2) if self.smoothing else 0
        # log sum e^z - z_label: finite where -log(a_label) would underflow
        losses = np.log(np.exp(shifted, out=shifted).sum(axis=-2))
        losses -= (1 - self.smoothing) * of_label + self.smoothing * of_all
        return losses

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        # shift by the largest: exp cannot overflow and softmax is unchanged
        np.subtract(z, np.fmax.reduce(z, axis=-2, keepdims=True), out)
        np.exp(out, out)
        np.divide(out, np.add.reduce(out, axis=-2, keepdims=True), out)
        np.subtract(out, targets, out)
        np.multiply(out, scale, out)


class BinaryCrossEntropy(Objective):
    """-y log a - (1 - y) log(1 - a) with a = sigmoid(z), in nats, the mean over the outputs.

    One output for a target of two classes; several for several labels that are each there or not. dL/da x da/dz
    collapses to a - y = (tanh(z/2) - (2y - 1)) / 2. Source: Bishop (2006), equation 4.91. By tanh: one call
    that cannot overflow, where 1 / (1 + e^-z) is three.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__(Sigmoid())
        self.smoothing = smoothing
        self._half = {np.dtype(kind): np.asarray(0.5, kind) for kind in (np.float32, np.float64)}

    def encode(self, y: Targets, units: int, dtype: DTypeLike) -> Floats:
        """2y - 1: between -1 and 1."""
        return 2 * self._probabilities(y, dtype) - 1

    def scale(self, rows: int, units: int) -> float:
        # the half in front of the tanh
        return 0.5 / (rows * units)

    def _probabilities(self, y: Targets, dtype: DTypeLike) -> Floats:
        targets = y[..., None, :].astype(dtype) if are_labels(y) else super().encode(y, 0, dtype)
        return targets * (1 - self.smoothing) + self.smoothing / 2 if self.smoothing else targets

    def losses(self, z: Floats, y: Targets) -> Floats:
        # log(1 + e^z) - y z, the exponential of what is never positive; np.logaddexp takes five times as long
        losses = np.exp(-np.abs(z))
        np.log1p(losses, out=losses)
        losses += np.fmax(z, 0)
        losses -= self._probabilities(y, z.dtype) * z
        return over_outputs(losses)

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        np.multiply(z, self._half[z.dtype], out)
        np.tanh(out, out)
        np.subtract(out, targets, out)
        np.multiply(out, scale, out)
