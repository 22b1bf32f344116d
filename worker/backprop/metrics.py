"""The figures that are recorded each epoch beside the loss. scikit-learn's are the oracle in tests.

A metric takes the outputs a, (units, rows), and the targets y: labels, integers (rows,), or numbers (rows, outputs),
each 0 or 1 where they are labels that are there or not. Those of OF_Z take z instead: where a is rounded to 0 or 1, z
still tells how far off it is, and which of two is the larger. A figure that these rows don't have is NaN.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from worker.backprop.arrays import Floats, Integers, Targets
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy

Metric = Callable[[Floats, Targets], float]


def accuracy(a: Floats, y: Targets) -> float:
    """Share of rows whose label is the predicted one; of several labels, the share of all that are told right."""
    right = _predicted(a, y) == _labels(y)
    return np.count_nonzero(right) / right.size


def top_k(z: Floats, y: Targets, k: int) -> float:
    """Share of rows whose label is among the k largest outputs."""
    of_label = np.take_along_axis(z, y[None, :], axis=0)
    return float(((z > of_label).sum(axis=0) < k).mean())


def balanced_accuracy(a: Floats, y: Targets) -> float:
    """The mean over the classes of the share of their rows that is told right; classes without rows are left out."""
    right, _, actual = _counts(a, y)
    return float((right[actual > 0] / actual[actual > 0]).mean())


def macro_f1(a: Floats, y: Targets) -> float:
    """The mean over the classes, or labels, of 2 right / (predicted + actual), 0 where both are 0."""
    right, predicted, actual = _counts(a, y)
    total = predicted + actual
    return float((2 * right / np.where(total > 0, total, 1)).mean())


def roc_auc(a: Floats, y: Targets) -> float:
    """The chance that a row of the class is ranked above one of another: the mean over classes, one against the rest.

    NaN unless each class has rows and is not all rows. Source: Hanley and McNeil (1982).
    """
    truth = _one_row_a_class(_labels(y), max(2, len(a)) if y.ndim == 1 else None)
    scores = np.stack([1 - a[0], a[0]]) if len(a) == 1 and y.ndim == 1 else a
    return float(np.mean([_ranked_above(score, wanted) for score, wanted in zip(scores, truth, strict=True)]))


def log_loss(z: Floats, y: Targets) -> float:
    """The cross-entropy in nats, without smoothing and weights."""
    objective = SoftmaxCrossEntropy() if y.ndim == 1 and len(z) > 1 else BinaryCrossEntropy()
    # plus 0: the mean of a perfect answer is -0.0
    return float(objective.losses(z, y).mean(dtype=np.float64)) + 0.0


def r2(a: Floats, y: Targets) -> float:
    """Coefficient of determination, the mean over the outputs. 1 is perfect, 0 is the mean's.

    A target that does not vary counts 1 if it is met exactly and 0 if not, as in scikit-learn.
    """
    error = y.T - a
    spread = y.T - y.T.sum(axis=1, keepdims=True) / len(y)
    residual = (error * error).sum(axis=1, dtype=np.float64)
    total = (spread * spread).sum(axis=1, dtype=np.float64)
    if not total.all():
        return float(np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), residual == 0).mean())
    return 1 - float((residual / total).sum()) / len(total)


def rmse(a: Floats, y: Targets, scales: Sequence[float] = (1.0,)) -> float:
    """Root of the mean squared error. scales: of each output, from standardised to the user's units."""
    error = (a - y.T) * np.array(scales)[:, None]
    return float(np.sqrt((error * error).mean(dtype=np.float64)))


def mae(a: Floats, y: Targets, scales: Sequence[float] = (1.0,)) -> float:
    """Mean absolute error. scales: of each output, from standardised to the user's units."""
    return float((np.abs(a - y.T) * np.array(scales)[:, None]).mean(dtype=np.float64))


def _predicted(a: Floats, y: Targets) -> Integers:
    """Labels (rows,), or of several labels (labels, rows) of 0 and 1."""
    if y.ndim > 1:
        return (a > 0.5).astype(np.intp)
    return a.argmax(axis=0) if len(a) > 1 else (a[0] > 0.5).astype(np.intp)


def _labels(y: Targets) -> Integers:
    return (y.T > 0.5).astype(np.intp) if y.ndim > 1 else y


def _counts(a: Floats, y: Targets) -> tuple[Integers, Integers, Integers]:
    """Rows that are rightly called, called, and truly of each class or label."""
    classes = max(2, len(a)) if y.ndim == 1 else None
    called = _one_row_a_class(_predicted(a, y), classes)
    truth = _one_row_a_class(_labels(y), classes)
    return (called & truth).sum(axis=1), called.sum(axis=1), truth.sum(axis=1)


def _one_row_a_class(labels: Integers, classes: int | None) -> Integers:
    return labels == 1 if classes is None else labels[None, :] == np.arange(classes)[:, None]


def _ranked_above(score: Floats, wanted: Integers) -> float:
    """Mann and Whitney's U as a share; rows of equal score share the mean of their ranks."""
    positive = int(wanted.sum())
    if positive in (0, len(wanted)):
        return float("nan")
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    above = ranks[wanted].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(wanted) - positive)))


OF_Z = frozenset({"log_loss", "top_2", "top_3", "top_5"})
HIGHER_IS_BETTER = frozenset({"accuracy", "top_2", "top_3", "top_5", "balanced_accuracy", "macro_f1", "roc_auc", "r2"})

OF_CLASSES: dict[str, Metric] = {
    "accuracy": accuracy,
    "top_2": partial(top_k, k=2),
    "top_3": partial(top_k, k=3),
    "top_5": partial(top_k, k=5),
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
}
OF_LABELS: dict[str, Metric] = {name: OF_CLASSES[name] for name in ("accuracy", "macro_f1", "roc_auc", "log_loss")}
OF_NUMBERS: dict[str, Metric] = {"r2": r2, "rmse": rmse, "mae": mae}
