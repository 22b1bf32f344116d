"""Losses of numbers: how far the activation is from the target, in one or another sense."""

import numpy as np

from worker.backprop.activation import Activation
from worker.backprop.activations import Exponential
from worker.backprop.arrays import Floats, Targets
from worker.backprop.losses.objective import Objective, over_outputs


class Distance(Objective):
    """Base: a loss of error = a - y, a = f(z) for any activation f."""

    def of(self, error: Floats) -> Floats:
        """The loss, element by element."""
        raise NotImplementedError

    def slope(self, error: Floats, out: Floats) -> None:
        """Its derivative, but for what is in `scale`; out may be the error, and is left alone if it is that already."""
        raise NotImplementedError

    def losses(self, z: Floats, y: Targets) -> Floats:
        return over_outputs(self.of(self.activation.value(z) - self.encode(y, z.shape[-2], z.dtype)))

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        a = self.activation.value(z)
        np.subtract(a, targets, out)
        self.slope(out, out)
        np.multiply(out, scale, out)
        self.activation.grad_z(out, z, a)


class MeanSquaredError(Distance):
    """(a - y)^2."""

    def of(self, error: Floats) -> Floats:
        return error * error

    def scale(self, rows: int, units: int) -> float:
        # of 2 error
        return 2 / (rows * units)

    def slope(self, error: Floats, out: Floats) -> None:
        """2 error, the 2 being in the scale."""


class MeanAbsoluteError(Distance):
    """|a - y|: its best constant is the median. At the kink the derivative is taken as 0."""

    def of(self, error: Floats) -> Floats:
        return np.abs(error)

    def slope(self, error: Floats, out: Floats) -> None:
        np.sign(error, out)


class Huber(Distance):
    """error^2 / 2 up to delta, and beyond it the straight line that goes on from there.

    Source: Huber (1964), section 4.
    """

    def __init__(self, activation: Activation, delta: float = 1.0) -> None:
        super().__init__(activation)
        self.delta = delta

    def of(self, error: Floats) -> Floats:
        near = np.minimum(np.abs(error), self.delta)
        return near * (np.abs(error) - near / 2)

    def slope(self, error: Floats, out: Floats) -> None:
        np.clip(error, -self.delta, self.delta, out=out)


class LogCosh(Distance):
    """log cosh(error): nearly error^2 / 2 near 0 and |error| - log 2 far away, with no kink between."""

    def of(self, error: Floats) -> Floats:
        # |e| + log(1 + e^(-2|e|)) - log 2 cannot overflow
        far = np.abs(error)
        return far + np.log1p(np.exp(-2 * far)) - far.dtype.type(np.log(2))

    def slope(self, error: Floats, out: Floats) -> None:
        np.tanh(error, out)


class Quantile(Distance):
    """quantile x (y - a) where y is above a, (1 - quantile) x (a - y) where it is below: a tends to that quantile.

    Also called the pinball loss. Source: Koenker and Bassett (1978), section 3.
    """

    def __init__(self, activation: Activation, quantile: float = 0.5) -> None:
        super().__init__(activation)
        self.quantile = quantile

    def of(self, error: Floats) -> Floats:
        return np.maximum(-self.quantile * error, (1 - self.quantile) * error)

    def slope(self, error: Floats, out: Floats) -> None:
        # at the kink 0
        np.copyto(out, (error > 0) * (1 - self.quantile) - (error < 0) * self.quantile)


class Poisson(Objective):
    """a - y log a with a = e^z, for counts y: their likelihood but for a term without z. dL/dz = a - y.

    Source: McCullagh and Nelder (1989), chapter 6.
    """

    def __init__(self) -> None:
        super().__init__(Exponential())

    def losses(self, z: Floats, y: Targets) -> Floats:
        losses = np.exp(z)
        losses -= self.encode(y, z.shape[-2], z.dtype) * z
        return over_outputs(losses)

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        np.exp(z, out)
        np.subtract(out, targets, out)
        np.multiply(out, scale, out)
