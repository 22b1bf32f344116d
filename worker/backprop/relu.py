"""The rectifier. It takes a third of a training step of a small network, so it has a fast version."""

from weakref import WeakValueDictionary

import numpy as np

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats


class Relu(Activation):
    """max(0, z). da/dz = 1 where z > 0, else 0; at the kink z = 0 it is taken as 0."""

    name = "relu"
    initializer = "he_normal"
    kinks = (0.0,)
    couples_units = False
    probabilities = None

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        # (|z| + z) / 2 in 0.6 us for a few numbers; np.maximum takes 0.9, and fmax would make a 0 of a NaN
        a = np.abs(z)
        a += z
        return np.multiply(a, 0.5, out=out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        grad *= a > 0

    def bound(self, a: Floats) -> "BoundRelu":
        return BoundRelu(a)


class BoundRelu(Relu):
    """Relu on one array that is reused by every step: four times as fast as NumPy's usual operations.

    Value: for 64 x 64, fmax with an array of zeros takes 0.35 us, with the number 0 it takes 1.5, and maximum takes 0.9
    more. fmax turns a NaN into 0. NaNs come from weights or activations that are not finite, and such a run ends
    because its loss or a weight is not finite.
    Derivative: the sign bit of -a is set where a > 0 (fmax gives no -0.0 for a sum that cancelled). Shifted over the
    whole word, it masks the gradient's bits. These three integer operations take 1.0 us; multiplying by a > 0 takes
    1.7, and by sign(a) 1.9.
    """

    def __init__(self, a: Floats) -> None:
        self.zeros = _zeros(a.shape, a.dtype.str)
        self.integer = np.int32 if a.itemsize == 4 else np.int64
        self.mask = a.view(self.integer)
        self.sign_bit = np.asarray(8 * a.itemsize - 1, self.integer)

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        return np.fmax(z, self.zeros, out)

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        mask, bits = self.mask, grad.view(self.integer)
        np.negative(mask, mask)
        np.right_shift(mask, self.sign_bit, mask)
        np.bitwise_and(bits, mask, bits)


_shared: WeakValueDictionary[tuple[tuple[int, ...], str], Floats] = WeakValueDictionary()


def _zeros(shape: tuple[int, ...], dtype: str) -> Floats:
    """Return read-only zeros: layers of the same shape share one array, which is freed with the last of them."""
    zeros = _shared.get((shape, dtype))
    if zeros is None:
        zeros = np.zeros(shape, dtype)
        zeros.flags.writeable = False
        _shared[shape, dtype] = zeros
    return zeros
