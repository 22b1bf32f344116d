"""Activations a = f(z) and their derivatives, applied to dL/da.

`grad_z` gives dL/dz = dL/da x da/dz. It is a method on the whole product because softmax has no element-wise da/dz.
Every array is (rows, units); `out` may be None (a new array) or an array of that shape, which may be `z` itself.
"""

from typing import Protocol

import numpy as np

from worker.backprop.arrays import Floats


class Activation(Protocol):
    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        """a = f(z)."""

    def grad_z(self, grad_a: Floats, a: Floats, out: Floats | None = None) -> Floats:
        """dL/dz from dL/da, written in terms of a = f(z)."""


class Identity:
    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.positive(z, out=out)

    def grad_z(self, grad_a: Floats, a: Floats, out: Floats | None = None) -> Floats:
        return np.positive(grad_a, out=out)


class Relu:
    """max(0, z); at the kink z = 0 the derivative is taken as 0."""

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.maximum(z, z.dtype.type(0), out=out)

    def grad_z(self, grad_a: Floats, a: Floats, out: Floats | None = None) -> Floats:
        # a > 0 exactly where z > 0
        return np.multiply(grad_a, a > 0, out=out)


class Tanh:
    """da/dz = 1 - a^2."""

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.tanh(z, out=out)

    def grad_z(self, grad_a: Floats, a: Floats, out: Floats | None = None) -> Floats:
        return np.multiply(grad_a, 1 - a * a, out=out)


class Sigmoid:
    """1 / (1 + e^-z); da/dz = a (1 - a)."""

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        # sigmoid(z) = (1 + tanh(z/2)) / 2 has no exponential that could overflow
        a = np.tanh(np.multiply(z, z.dtype.type(0.5), out=out), out=out)
        a += 1
        a *= z.dtype.type(0.5)
        return a

    def grad_z(self, grad_a: Floats, a: Floats, out: Floats | None = None) -> Floats:
        return np.multiply(grad_a, a * (1 - a), out=out)


class Softmax:
    """e^z_k / sum_j e^z_j along each row. da_k/dz_j = a_k (delta_kj - a_j). Source: Bishop (2006), equation 4.106."""

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        # shift by the row maximum: exp cannot overflow and softmax is unchanged
        a: Floats = np.exp(np.subtract(z, z.max(axis=1, keepdims=True), out=out), out=out)
        a /= a.sum(axis=1, keepdims=True)
        return a

    def grad_z(self, grad_a: Floats, a: Floats, out: Floats | None = None) -> Floats:
        # dL/dz_j = sum_k dL/da_k a_k (delta_kj - a_j) = a_j (dL/da_j - sum_k dL/da_k a_k)
        shared: Floats = (grad_a * a).sum(axis=1, keepdims=True)
        return np.multiply(a, grad_a - shared, out=out)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Identity(),
    "relu": Relu(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "softmax": Softmax(),
}
