"""The figures that are recorded each epoch beside the loss. scikit-learn's are the oracle in tests."""

from collections.abc import Callable

import numpy as np

from worker.backprop.arrays import Floats, Integers

Metric = Callable[[Floats, "Floats | Integers"], float]


def accuracy(outputs: Floats, targets: Floats | Integers) -> float:
    """Share of rows whose largest output is the target's. targets: labels (rows,), or one-hot (rows, classes)."""
    labels = targets.argmax(axis=1) if targets.ndim == 2 else targets
    return float((outputs.argmax(axis=1) == labels).mean())


def r2(outputs: Floats, targets: Floats | Integers) -> float:
    """Coefficient of determination, the mean over the outputs. 1 is perfect, 0 is the mean's.

    A target that does not vary counts 1 if it is met exactly and 0 if not, as in scikit-learn.
    """
    residual = ((targets - outputs) ** 2).sum(axis=0, dtype=np.float64)
    total = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0, dtype=np.float64)
    varies = total > 0
    scores = np.where(varies, 1 - residual / np.where(varies, total, 1), (residual == 0).astype(np.float64))
    return float(scores.mean())
