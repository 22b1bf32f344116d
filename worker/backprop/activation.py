"""What an activation is: a = f(z), its derivative da/dz, and what the rest of the code needs to know of it.

`value` gives a; with `out` it writes there, which may be z itself. `grad_z` turns dL/da into dL/dz = dL/da x da/dz.
It takes the whole product because softmax has no element-wise da/dz. It works in place because nothing reads dL/da or
a after it, so a training step needs two arrays for each layer and no more. Every array is (..., units, rows).
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from worker.backprop.arrays import Floats


class Activation(ABC):
    """One activation. Each class sets all that the base only names.

    name: its name in a specification.
    initializer: what `auto` gives to the weights of a dense layer with this activation.
    kinks: the values of a at which da/dz jumps.
    couples_units: whether a unit's z moves other units' a too, in place of its own alone.
    probabilities: whether the outputs of an output layer are the probabilities of exclusive classes, which add up to
    1, or of one yes-or-no question each; None if they are not probabilities.
    keeps_z: whether da/dz is computed from z, so that z must not share an array with a.
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
        """Return the same function for the one array that will hold a, where knowing it makes it faster."""
        return self

    def along(self, z: Floats, a: Floats, direction: Floats) -> Floats:
        """Return how a moves as z moves along a direction: da_k = sum_j da_k/dz_j x direction_j. Each (units,).

        Without coupling da_k/dz_j is 0 but for k = j, and this is the product with da/dz that `grad_z` makes.
        """
        moved: Floats = direction[:, None].copy()
        self.grad_z(moved, z[:, None], a[:, None].copy())
        return moved[:, 0]
