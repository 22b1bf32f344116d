"""Cross-entropy, for one class among several and for yes-or-no questions."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.activation_base import Activation
from worker.backprop.activations import Sigmoid, Softmax
from worker.backprop.arrays import Floats, Targets
from worker.backprop.losses.objective import Bounds, Objective, are_labels, one_hot, over_outputs


class SoftmaxCrossEntropy(Objective):
    """-log a_label with a = softmax(z), in nats.

    The long product dL/da x da/dz collapses to a - y. Source: Bishop (2006), equation 4.109.
    smoothing: the share of each target that is spread over all classes. Source: Szegedy et al. (2016), section 7.
    """

    takes_category = True
    columns_kind = None
    output = "softmax"
    standardises = False
    probable = True
    units = "nats"
    fused = True
    error_kinks = ()

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__(Softmax())
        self.smoothing = smoothing

    @classmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        return cls(numbers["label_smoothing"])

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
        # the members of a stack may share one y
        labels = np.broadcast_to(y, (*z.shape[:-2], z.shape[-1]))
        of_label = np.take_along_axis(shifted, labels[..., None, :], axis=-2)[..., 0, :]
        of_all = shifted.mean(axis=-2) if self.smoothing else 0
        # log sum e^z - z_label: finite where -log(a_label) would underflow
        losses = np.log(np.exp(shifted, out=shifted).sum(axis=-2))
        losses -= (1 - self.smoothing) * of_label + self.smoothing * of_all
        return losses

    def grad_a(self, a: Floats, y: Floats) -> Floats:
        """Return -y_k / a_k, the derivative of -sum_k y_k log a_k. Source: Bishop (2006), section 4.3.4."""
        return np.where(y == 0, 0.0, -y / a)

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        # shift by the largest: exp cannot overflow and softmax is unchanged
        np.subtract(z, np.fmax.reduce(z, axis=-2, keepdims=True), out)
        np.exp(out, out)
        np.divide(out, np.add.reduce(out, axis=-2, keepdims=True), out)
        np.subtract(out, targets, out)
        np.multiply(out, scale, out)


class BinaryCrossEntropy(Objective):
    """-y log a - (1 - y) log(1 - a) with a = sigmoid(z), in nats, averaged over the outputs.

    A target with two classes has one output; several labels that each apply or not have one output each. dL/da x da/dz
    collapses to a - y = (tanh(z/2) - (2y - 1)) / 2. Source: Bishop (2006), equation 4.91. tanh is one call that cannot
    overflow; 1 / (1 + e^-z) is three.
    """

    takes_category = True
    two_classes = True
    columns_kind = "labels"
    bounds = Bounds(0, 1, "0 or 1", "columns of 0 and 1")
    output = "sigmoid"
    standardises = False
    probable = True
    units = "nats"
    fused = True
    error_kinks = ()

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__(Sigmoid())
        self.smoothing = smoothing
        self._half = {np.dtype(kind): np.asarray(0.5, kind) for kind in (np.float32, np.float64)}

    @classmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        return cls(numbers["label_smoothing"])

    def encode(self, y: Targets, units: int, dtype: DTypeLike) -> Floats:
        """Return 2y - 1, from -1 to 1."""
        return 2 * self._probabilities(y, dtype) - 1

    def expected(self, targets: Floats) -> Floats:
        return (targets + 1) / 2

    def scale(self, rows: int, units: int) -> float:
        # the half in front of the tanh
        return 0.5 / (rows * units)

    def _probabilities(self, y: Targets, dtype: DTypeLike) -> Floats:
        targets = y[..., None, :].astype(dtype) if are_labels(y) else super().encode(y, 0, dtype)
        return targets * (1 - self.smoothing) + self.smoothing / 2 if self.smoothing else targets

    def losses(self, z: Floats, y: Targets) -> Floats:
        # log(1 + e^z) - y z, with an exponent that is never positive; np.logaddexp takes five times as long
        losses = np.exp(-np.abs(z))
        np.log1p(losses, out=losses)
        losses += np.fmax(z, 0)
        losses -= self._probabilities(y, z.dtype) * z
        return over_outputs(losses)

    def grad_a(self, a: Floats, y: Floats) -> Floats:
        """Return (a - y) / (a (1 - a)), divided by the number of outputs. Source: Bishop (2006), section 4.3.2."""
        return ((1 - y) / (1 - a) - y / a) / len(a)

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        np.multiply(z, self._half[z.dtype], out)
        np.tanh(out, out)
        np.subtract(out, targets, out)
        np.multiply(out, scale, out)
