"""What an activation is: a = f(z), and da/dz.

`value` gives a; with `out` it writes there, which may be z itself. `grad_z` turns dL/da into dL/dz = dL/da x da/dz.
It works on the whole product because softmax has no element-wise da/dz, and in place, because nobody reads dL/da or a
after it: a training step needs two arrays a layer and no more. Every array is (..., units, rows).
"""

from typing import ClassVar

from worker.backprop.arrays import Floats


class Activation:
    """Base. keeps_z: da/dz is written in z, so that z must outlive a."""

    keeps_z: ClassVar[bool] = False

    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        """a = f(z)."""
        raise NotImplementedError

    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        """Turn dL/da in `grad` into dL/dz; may overwrite a. z may be a's own array unless `keeps_z`."""
        raise NotImplementedError

    def bound(self, a: Floats) -> "Activation":
        """The same function for one array that will hold a, where knowing it makes it faster."""
        return self
