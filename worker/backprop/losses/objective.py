"""What an objective is. The loss L of a batch is the mean over its rows; a row's is one cross-entropy, or the mean over
its outputs. Rows that weigh more or less have weights of mean 1 over the whole part: L is the sum of their weighted
losses over the count of the batch's rows, so that all batches together weigh each row rightly. (PyTorch's weighted
mean divides by the batch's own weights, by which a rare class counts differently from batch to batch.)

z: (..., units, rows), any real numbers. y: labels, integers (..., rows) in [0, classes), or numbers
(..., rows, outputs).
"""

from typing import TypeGuard

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.activation import Activation
from worker.backprop.arrays import Floats, Integers, Targets, transposed
from worker.errors import ShapeError


class Objective:
    """Base: the activation of the output layer, and the loss of what it gives."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def encode(self, y: Targets, units: int, dtype: DTypeLike) -> Floats:
        """y as `grad_z` takes it, (..., units, rows) and contiguous."""
        if are_labels(y):
            return one_hot(y, units, dtype)
        return np.ascontiguousarray(transposed(y), dtype)

    def losses(self, z: Floats, y: Targets) -> Floats:
        """The loss of each row, (..., rows)."""
        raise NotImplementedError

    def scale(self, rows: int, units: int) -> float:
        """The last factor of dL/dz, which makes means of sums. A factor of the derivative itself may be put in here."""
        return 1 / (rows * units)

    def grad_z(self, z: Floats, targets: Floats, out: Floats, scale: Floats) -> None:
        """Write dL/dz. targets: from `encode`. scale: what `scale` says, as an array without axes."""
        raise NotImplementedError

    def mean(self, z: Floats, y: Targets, weights: Floats | None = None) -> Floats:
        """The mean loss over rows, (...): a row counts by its weight. Raises ShapeError unless rows agree."""
        rows = y.shape[-1] if are_labels(y) else y.shape[-2]
        if z.shape[-1] != rows:
            raise ShapeError(f"{z.shape[-1]} rows but {rows} targets")
        losses = self.losses(z, y)
        if weights is None:
            return losses.mean(axis=-1, dtype=np.float64)
        return (losses * weights).sum(axis=-1, dtype=np.float64) / weights.sum(axis=-1, dtype=np.float64)


def are_labels(y: Targets) -> TypeGuard[Integers]:
    """Whether y is one label a row, rather than numbers."""
    return y.dtype.kind == "i"


def over_outputs(losses: Floats) -> Floats:
    """The mean over the outputs, (..., rows) of (..., units, rows)."""
    return losses[..., 0, :] if losses.shape[-2] == 1 else losses.mean(axis=-2)


def one_hot(labels: Integers, units: int, dtype: DTypeLike) -> Floats:
    """1 at the label, else 0: (..., units, rows)."""
    return (labels[..., None, :] == np.arange(units)[:, None]).astype(dtype)
