"""The activations a = f(z), each with the factor da/dz of the chain rule. Their base is in `activation_base.py`."""

from typing import ClassVar

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats
from worker.backprop.relu import Relu


class Identity(Activation):
    """da/dz = 1."""

    name = "identity"
    initializer = "glorot_uniform"
    kinks = ()
    couples_units = False
    probabilities = None

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return z if out is None or out is z else np.positive(z, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        """Leave dL/da as it is: it equals dL/dz."""


class LeakyRelu(Activation):
    """z where z > 0, else slope z. Source: Maas et al. (2013)."""

    name = "leaky_relu"
    initializer = "he_normal"
    kinks = (0.0,)
    couples_units = False
    probabilities = None
    slope = 0.01

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.fmax(z, self.slope * z, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        # a has the sign of z
        grad *= np.where(a > 0, a.dtype.type(1), a.dtype.type(self.slope))


class Elu(Activation):
    """z where z > 0, else alpha (e^z - 1). da/dz = 1, or a + alpha. Source: Clevert et al. (2016), section 3."""

    name = "elu"
    initializer = "he_normal"
    kinks: ClassVar[tuple[float, ...]] = ()
    couples_units = False
    probabilities = None
    alpha = 1.0
    scale = 1.0

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        negative = np.expm1(np.minimum(z, 0))
        negative *= self.scale * self.alpha
        a = np.fmax(z, 0, out=out)
        if self.scale != 1:
            a *= self.scale
        a += negative
        return a

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        grad *= np.where(a > 0, a.dtype.type(self.scale), a + a.dtype.type(self.scale * self.alpha))


class Selu(Elu):
    """scale times elu. Its constants keep activations at mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al. (2017), equation 2.
    """

    name = "selu"
    initializer = "lecun_normal"
    kinks = (0.0,)
    alpha = 1.6732632423543772
    scale = 1.0507009873554805


class Gelu(Activation):
    """z times the normal distribution function, in its tanh form, since NumPy has no erf.

    a = z (1 + tanh(u)) / 2, u = sqrt(2/pi) (z + 0.044715 z^3). Source: Hendrycks and Gimpel (2016), section 2.
    """

    name = "gelu"
    initializer = "he_normal"
    kinks = ()
    couples_units = False
    probabilities = None
    keeps_z = True
    root = float(np.sqrt(2 / np.pi))
    cubic = 0.044715

    def _tanh(self, z: Floats) -> Floats:
        u = z * z
        u *= self.root * self.cubic
        u += self.root
        u *= z
        return np.tanh(u, out=u)

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        half = self._tanh(z)
        half += 1
        half *= 0.5
        return np.multiply(half, z, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        # da/dz = (1 + t) / 2 + z (1 - t^2) / 2 du/dz, with t = tanh(u)
        t = self._tanh(z)
        du_dz = self.root + 3 * self.root * self.cubic * z * z
        grad *= 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * du_dz


class Silu(Activation):
    """z sigmoid(z), also called swish. da/dz = s + a (1 - s). Source: Elfwing et al. (2018)."""

    name = "silu"
    initializer = "he_normal"
    kinks = ()
    couples_units = False
    probabilities = None
    keeps_z = True

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.multiply(sigmoid(z), z, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        s = sigmoid(z)
        grad *= s + a * (1 - s)


class Softplus(Activation):
    """log(1 + e^z). da/dz = sigmoid(z) = 1 - e^-a. Source: Dugas et al. (2001)."""

    name = "softplus"
    initializer = "he_normal"
    kinks = ()
    couples_units = False
    probabilities = None

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.logaddexp(z, z.dtype.type(0), out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        np.negative(a, out=a)
        grad *= np.negative(np.expm1(a, out=a), out=a)


class Tanh(Activation):
    """da/dz = 1 - a^2."""

    name = "tanh"
    initializer = "glorot_uniform"
    kinks = ()
    couples_units = False
    probabilities = None

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.tanh(z, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        a *= a
        grad *= np.subtract(1, a, out=a)


class Sigmoid(Activation):
    """1 / (1 + e^-z). da/dz = a (1 - a)."""

    name = "sigmoid"
    initializer = "glorot_uniform"
    kinks = ()
    couples_units = False
    probabilities = "each"

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return sigmoid(z, out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        grad *= a
        grad *= np.subtract(1, a, out=a)


class HardSigmoid(Activation):
    """z/6 + 1/2, cut at 0 and 1. da/dz = 1/6 between the cuts, else 0. Source: Howard et al. (2019), section 5.2."""

    name = "hard_sigmoid"
    initializer = "glorot_uniform"
    kinks = (0.0, 1.0)
    couples_units = False
    probabilities = None

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        a = np.divide(z, 6, out=out)
        a += 0.5
        return np.clip(a, 0, 1, out=a)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        grad *= ((a > 0) & (a < 1)) * a.dtype.type(1 / 6)


class Exponential(Activation):
    """e^z, the inverse of the log link: for counts. da/dz = a. Source: McCullagh and Nelder (1989), chapter 6."""

    name = "exponential"
    initializer = "glorot_uniform"
    kinks = ()
    couples_units = False
    probabilities = None

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.exp(z, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        grad *= a


class Softmax(Activation):
    """e^z_k / sum_j e^z_j down each column. da_k/dz_j = a_k (delta_kj - a_j). Source: Bishop (2006), equation 4.106."""

    name = "softmax"
    initializer = "glorot_uniform"
    kinks = ()
    couples_units = True
    probabilities = "classes"

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        # shift by the largest: exp cannot overflow and softmax is unchanged
        a = np.subtract(z, z.max(axis=-2, keepdims=True), out=out)
        np.exp(a, out=a)
        a /= a.sum(axis=-2, keepdims=True)
        return a

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        # dL/dz_j = sum_k dL/da_k a_k (delta_kj - a_j) = a_j dL/da_j - a_j sum_k dL/da_k a_k
        grad *= a
        a *= grad.sum(axis=-2, keepdims=True)
        grad -= a

    def along(self, z: Floats, a: Floats, direction: Floats) -> Floats:
        return a * (direction - a @ direction)


def sigmoid(z: Floats, out: Floats | None = None) -> Floats:
    """Return 1 / (1 + e^-z) as (1 + tanh(z/2)) / 2, which has no exponential that could overflow."""
    a = np.multiply(z, 0.5, out=out)
    np.tanh(a, out=a)
    a += 1
    a *= 0.5
    return a


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Identity(),
        Relu(),
        LeakyRelu(),
        Elu(),
        Selu(),
        Gelu(),
        Silu(),
        Softplus(),
        Tanh(),
        Sigmoid(),
        HardSigmoid(),
        Exponential(),
        Softmax(),
    )
}
"Every activation by its name in a specification."
