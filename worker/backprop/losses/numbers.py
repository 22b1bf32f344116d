"""The losses for numbers: different measures of how far the activation is from the target."""

from abc import abstractmethod
from collections.abc import Mapping
from math import inf
from typing import Any, Self

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.activations import Exponential
from worker.backprop.arrays import Floats, Targets
from worker.backprop.losses.objective import Bounds, Objective, over_outputs


class Distance(Objective):
    """The base of the losses that depend on error = a - y, with a = f(z) for any activation f."""

    takes_category = False
    columns_kind = "numbers"
    output = None
    standardises = True
    probable = False
    units = "of the target as it is"
    fused = False

    @classmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        return cls(activation)

    @abstractmethod
    def of_error(self, error: Floats) -> Floats:
        """Return the loss, element by element."""

    @abstractmethod
    def slope(self, error: Floats, out: Floats) -> None:
        """Write the derivative of the loss into `out`, which may be the error, without the factor in `scale`."""

    def losses(self, z: Floats, y: Targets) -> Floats:
        return over_outputs(self.of_error(self.activation.value(z) - self.encode(y, z.shape[-2], z.dtype)))

    def grad_a(self, a: Floats, y: Floats) -> Floats:
        """Return the slope at a - y, divided by the number of outputs."""
        slope = a - y
        self.slope(slope, slope)
        return slope * self.scale(1, len(a))

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        a = self.activation.value(z)
        np.subtract(a, targets, out)
        self.slope(out, out)
        np.multiply(out, scale, out)
        self.activation.grad_z(out, z, a)


class MeanSquaredError(Distance):
    """(a - y)^2."""

    takes_category = True
    error_kinks = ()

    def of_error(self, error: Floats) -> Floats:
        return error * error

    def scale(self, rows: int, units: int) -> float:
        # the derivative is 2 error
        return 2 / (rows * units)

    def slope(self, error: Floats, out: Floats) -> None:
        """Leave the error as it is: the derivative is 2 error, and the 2 is in the scale."""


class MeanAbsoluteError(Distance):
    """|a - y|. The constant that minimises it is the median. At the kink the derivative is taken as 0."""

    error_kinks = (0.0,)

    def of_error(self, error: Floats) -> Floats:
        return np.abs(error)

    def slope(self, error: Floats, out: Floats) -> None:
        np.sign(error, out)


class Huber(Distance):
    """error^2 / 2 up to delta, and beyond it the straight line that continues from there.

    Source: Huber (1964), section 4.
    """

    error_kinks = ()

    def __init__(self, activation: Activation, delta: float = 1.0) -> None:
        super().__init__(activation)
        self.delta = delta

    @classmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        return cls(activation, numbers["delta"])

    def of_error(self, error: Floats) -> Floats:
        near = np.minimum(np.abs(error), self.delta)
        return near * (np.abs(error) - near / 2)

    def slope(self, error: Floats, out: Floats) -> None:
        np.clip(error, -self.delta, self.delta, out=out)


class LogCosh(Distance):
    """log cosh(error): nearly error^2 / 2 near 0 and |error| - log 2 far away, with no kink between."""

    error_kinks = ()

    def of_error(self, error: Floats) -> Floats:
        # |e| + log(1 + e^(-2|e|)) - log 2 cannot overflow
        far = np.abs(error)
        return far + np.log1p(np.exp(-2 * far)) - far.dtype.type(np.log(2))

    def slope(self, error: Floats, out: Floats) -> None:
        np.tanh(error, out)


class Quantile(Distance):
    """quantile x (y - a) where y is above a, and (1 - quantile) x (a - y) where it is below: a tends to that quantile.

    Also called the pinball loss. Source: Koenker and Bassett (1978), section 3.
    """

    error_kinks = (0.0,)

    def __init__(self, activation: Activation, quantile: float = 0.5) -> None:
        super().__init__(activation)
        self.quantile = quantile

    @classmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        return cls(activation, numbers["quantile"])

    def of_error(self, error: Floats) -> Floats:
        return np.maximum(-self.quantile * error, (1 - self.quantile) * error)

    def slope(self, error: Floats, out: Floats) -> None:
        # 0 at the kink
        np.copyto(out, (error > 0) * (1 - self.quantile) - (error < 0) * self.quantile)


class Poisson(Objective):
    """a - y log a with a = e^z, for counts y: their negative log-likelihood without its constant term. dL/dz = a - y.

    Source: McCullagh and Nelder (1989), chapter 6.
    """

    takes_category = False
    columns_kind = "numbers"
    bounds = Bounds(0, inf, "a count, 0 or more", "counts, 0 or more")
    output = "exponential"
    standardises = False
    probable = False
    units = "of the target as it is"
    fused = True
    error_kinks = ()

    def __init__(self) -> None:
        super().__init__(Exponential())

    @classmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        return cls()

    def losses(self, z: Floats, y: Targets) -> Floats:
        losses = np.exp(z)
        losses -= self.encode(y, z.shape[-2], z.dtype) * z
        return over_outputs(losses)

    def grad_a(self, a: Floats, y: Floats) -> Floats:
        """Return 1 - y / a, divided by the number of outputs."""
        return (1 - y / a) / len(a)

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        np.exp(z, out)
        np.subtract(out, targets, out)
        np.multiply(out, scale, out)
