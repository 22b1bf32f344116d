"""What an activation is: a = f(z), its derivative da/dz, and what the rest of the code needs to know of it.

`value` gives a; with `out` it writes there, which may be z itself. `grad_z` turns dL/da into dL/dz = dL/da x da/dz.
It takes the whole product because softmax has no element-wise da/dz. It works in place because nothing reads dL/da or
a after it, so a training step needs two arrays for each layer and no more. Every array is (..., units, rows).
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from worker.backprop.arrays import Floats


class Activation(ABC):
    """One activation. Each class sets the attributes that the base only declares.

    name: its name in a specification.
    initializer: the initialiser that `auto` chooses for a dense layer with this activation.
    kinks: the values of a at which da/dz jumps.
    couples_units: whether a unit's z also affects the a of other units, as in softmax.
    probabilities: what an output layer with this activation gives. `classes`: probabilities of exclusive classes,
        which add up to 1. `each`: an independent probability for each output. None: no probabilities.
    keeps_z: whether da/dz is computed from z, so that z and a need separate arrays.
    """

    name: ClassVar[str]
    initializer: ClassVar[str]
    kinks: ClassVar[tuple[float, ...]]
    couples_units: ClassVar[bool]
    probabilities: ClassVar[Literal["classes", "each", None]]
    keeps_z: ClassVar[bool] = False

    @abstractmethod
    def value(self, z: Floats, out: Floats | None = None) -> Floats:
        """Return a = f(z)."""

    @abstractmethod
    def grad_z(self, grad: Floats, z: Floats, a: Floats) -> None:
        """Turn dL/da in `grad` into dL/dz; may overwrite a. z may be a's own array unless `keeps_z`."""

    def bound(self, a: Floats) -> "Activation":
        """Return this activation, or a faster version of it that only works on the array a."""
        return self

    def along(self, z: Floats, a: Floats, direction: Floats) -> Floats:
        """Return the derivative of a along a direction in z: da_k = sum_j da_k/dz_j x direction_j. Each (units,).

        If units are not coupled, da_k/dz_j is 0 except for k = j, and this is the product with da/dz that `grad_z`
        computes.
        """
        moved: Floats = direction[:, None].copy()
        self.grad_z(moved, z[:, None], a[:, None].copy())
        return moved[:, 0]
