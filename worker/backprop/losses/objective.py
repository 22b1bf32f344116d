"""The base of every loss, combined with the activation before it: from the last z to each row's loss and to dL/dz.

The loss L of a batch is the mean over its rows. A row's loss is one cross-entropy, or the mean over its outputs.
Row weights have mean 1 over the whole part. L is the sum of the weighted losses divided by the number of rows in the
batch, so that all batches together weigh each row correctly. (PyTorch's weighted mean divides by the weights of the
batch, which counts a rare class differently from batch to batch.)

z: (..., units, rows), any real numbers. y: labels, integers (..., rows) in [0, classes), or numbers
(..., rows, outputs).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats, Integers, Targets, transposed
from worker.errors import ShapeError

Kind = Literal["classes", "labels", "numbers"]
"What a target is: one class of several, labels that each apply or not, or numbers."


class Bounds(NamedTuple):
    """The range of numbers that a target may have.

    lowest, highest: the ends of the range, both allowed.
    one: the range in words that complete "must be".
    many: the range in words that complete "needs".
    """

    lowest: float
    highest: float
    one: str
    many: str


class Objective(ABC):
    """A loss with the activation of the output layer. Each class sets the attributes that the base only declares.

    takes_category: whether the target may be a category.
    columns_kind: what numeric target columns mean to this loss, labels or numbers; None if it refuses them.
    bounds: the range of numbers that such columns may have; None if any number will do.
    two_classes: whether a category must have exactly two classes, for which one output is enough.
    output: the activation that the output layer must have; None if any will do.
    standardises: whether the network learns numbers as (target - mean) / scale.
    probable: whether the outputs are always probabilities when the target is a category.
    units: the units of the loss if the target is not standardised.
    fused: whether dL/dz has a short form in which da/dz cancels.
    error_kinks: the values of a - y at which dL/da jumps.
    """

    takes_category: ClassVar[bool]
    columns_kind: ClassVar[Literal["labels", "numbers"] | None]
    bounds: ClassVar[Bounds | None] = None
    two_classes: ClassVar[bool] = False
    output: ClassVar[str | None]
    standardises: ClassVar[bool]
    probable: ClassVar[bool]
    units: ClassVar[str]
    fused: ClassVar[bool]
    error_kinks: ClassVar[tuple[float, ...]]

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    @classmethod
    @abstractmethod
    def of(cls, activation: Activation, numbers: Mapping[str, Any]) -> Self:
        """Return the objective with the parameters of its specification. numbers: those parameters by name."""

    def encode(self, y: Targets, units: int, dtype: DTypeLike) -> Floats:
        """Return y in the form that `grad_z` takes, (..., units, rows) and contiguous."""
        if are_labels(y):
            return one_hot(y, units, dtype)
        return np.ascontiguousarray(transposed(y), dtype)

    def expected(self, targets: Floats) -> Floats:
        """Return the values that a should have, (..., units, rows). targets: from `encode`."""
        return targets

    @abstractmethod
    def losses(self, z: Floats, y: Targets) -> Floats:
        """Return the loss of each row, (..., rows)."""

    @abstractmethod
    def grad_a(self, a: Floats, y: Floats) -> Floats:
        """Return dL/da for each row's own loss, (units, rows), by the formula. y: from `expected`."""

    def scale(self, rows: int, units: int) -> float:
        """Return the last factor of dL/dz. It turns sums into means, and may include a constant of the derivative."""
        return 1 / (rows * units)

    @abstractmethod
    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        """Write dL/dz into `out`. targets: from `encode`. scale: from `scale`, as an array without axes."""

    def mean(self, z: Floats, y: Targets, weights: Floats | None = None) -> Floats:
        """Return the weighted mean loss over the rows, (...). Raises ShapeError if z and y differ in rows."""
        rows = y.shape[-1] if are_labels(y) else y.shape[-2]
        if z.shape[-1] != rows:
            raise ShapeError(f"{z.shape[-1]} rows but {rows} targets")
        losses = self.losses(z, y)
        if weights is None:
            return losses.mean(axis=-1, dtype=np.float64)
        return (losses * weights).sum(axis=-1, dtype=np.float64) / weights.sum(axis=-1, dtype=np.float64)


def are_labels(y: Targets) -> TypeGuard[Integers]:
    """Return whether y has one label for each row, rather than numbers."""
    return y.dtype.kind == "i"


def over_outputs(losses: Floats) -> Floats:
    """Return the mean over the outputs, (..., rows), of (..., units, rows)."""
    return losses[..., 0, :] if losses.shape[-2] == 1 else losses.mean(axis=-2)


def one_hot(labels: Integers, units: int, dtype: DTypeLike) -> Floats:
    """Return 1 at the label and 0 elsewhere: (..., units, rows)."""
    return (labels[..., None, :] == np.arange(units)[:, None]).astype(dtype)
