"""The metrics: figures that are recorded each epoch beside the loss. The tests compare them with scikit-learn's.

A metric takes the outputs a, (units, rows), and the targets y: labels, integers (rows,), or numbers (rows, outputs),
each 0 or 1 if they are labels that each apply or not; and the weights of the rows, (rows,), as the loss has them: None
if all count the same. A metric that `takes_z` gets z instead: where a is rounded to 0
or 1, z still says how far off it is, and which of two is the larger. A metric that does not exist for the given rows is
NaN, as roc_auc is if all rows have the same class.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from worker.backprop.arrays import Floats, Integers, Targets
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.objective import Kind


@dataclass(frozen=True)
class Metric:
    """A metric, and when it can be used.

    function: computes it from the outputs and the targets.
    kinds: the kinds of target that it is defined for.
    takes_z: it is computed from z, not from a.
    needs_probabilities: for a category, the outputs must be probabilities.
    above_classes: a category must have more classes than this; with fewer the metric is always 1.
    has_units: it is in units of the target, so its function takes `scales`.
    """

    function: Callable[..., float]
    kinds: tuple[Kind, ...]
    higher_is_better: bool
    takes_z: bool = False
    needs_probabilities: bool = False
    above_classes: int = 1
    has_units: bool = False

    def __call__(self, outputs: Floats, y: Targets, weights: Floats | None = None) -> float:
        """Return the figure. outputs: a, or z if the metric takes z, (units, rows). weights: of the rows, (rows,)."""
        return self.function(outputs, y, weights)

    def in_units(self, scales: Sequence[float]) -> "Metric":
        """Return the metric in the user's own units. scales: one factor for each output, from standardised numbers."""
        return replace(self, function=partial(self.function, scales=scales)) if self.has_units else self


@partial(Metric, kinds=("classes", "labels"), higher_is_better=True)
def accuracy(a: Floats, y: Targets, weights: Floats | None = None) -> float:
    """Return the share of rows whose label is the predicted one; for several labels, the share that are right."""
    right = _predicted(a, y) == _labels(y)
    return np.count_nonzero(right) / right.size if weights is None else _mean(right, weights)


def top(k: int) -> Metric:
    """Return the metric: the share of rows whose label is among the k largest outputs. It is always 1 of k classes."""

    def share(z: Floats, y: Targets, weights: Floats | None = None) -> float:
        of_label = np.take_along_axis(z, y[None, :], axis=0)
        return _mean((z > of_label).sum(axis=0) < k, weights)

    return Metric(share, kinds=("classes",), higher_is_better=True, takes_z=True, above_classes=k)


@partial(Metric, kinds=("classes",), higher_is_better=True)
def balanced_accuracy(a: Floats, y: Targets, weights: Floats | None = None) -> float:
    """Return the share of a class's rows that are predicted right, averaged over the classes that have rows."""
    right, _, actual = _counts(a, y, weights)
    return float((right[actual > 0] / actual[actual > 0]).mean())


@partial(Metric, kinds=("classes", "labels"), higher_is_better=True)
def macro_f1(a: Floats, y: Targets, weights: Floats | None = None) -> float:
    """Return the mean over the classes, or labels, of 2 right / (predicted + actual), 0 where both are 0."""
    right, predicted, actual = _counts(a, y, weights)
    total = predicted + actual
    return float((2 * right / np.where(total > 0, total, 1)).mean())


@partial(Metric, kinds=("classes", "labels"), higher_is_better=True, needs_probabilities=True)
def roc_auc(a: Floats, y: Targets, weights: Floats | None = None) -> float:
    """Return the chance that a row of a class is ranked above a row of another class, averaged over the classes.

    NaN unless every class has rows and none has all rows. Source: Hanley and McNeil (1982).
    """
    truth = _one_row_per_class(_labels(y), max(2, len(a)) if y.ndim == 1 else None)
    scores = np.stack([1 - a[0], a[0]]) if len(a) == 1 and y.ndim == 1 else a
    above = [_ranked_above(score, wanted, weights) for score, wanted in zip(scores, truth, strict=True)]
    return float(np.mean(above))


@partial(Metric, kinds=("classes", "labels"), higher_is_better=False, takes_z=True, needs_probabilities=True)
def log_loss(z: Floats, y: Targets, weights: Floats | None = None) -> float:
    """Return the cross-entropy in nats, without smoothing."""
    objective = SoftmaxCrossEntropy() if y.ndim == 1 and len(z) > 1 else BinaryCrossEntropy()
    # plus 0: the mean of a perfect answer is -0.0
    return _mean(objective.losses(z, y), weights) + 0.0


@partial(Metric, kinds=("numbers",), higher_is_better=True)
def r2(a: Floats, y: Targets, weights: Floats | None = None) -> float:
    """Return the coefficient of determination, averaged over the outputs. 1 is perfect; predicting the mean gives 0.

    A target that does not vary gives 1 if it is predicted exactly and 0 if not, as in scikit-learn.
    """
    error = y.T - a
    if weights is None:
        spread = y.T - y.T.sum(axis=1, keepdims=True) / len(y)
        residual = (error * error).sum(axis=1, dtype=np.float64)
        total = (spread * spread).sum(axis=1, dtype=np.float64)
    else:
        spread = y.T - (y.T @ weights)[:, None] / weights.sum()
        residual, total = ((square @ weights).astype(np.float64) for square in (error * error, spread * spread))
    if not total.all():
        return float(np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), residual == 0).mean())
    return 1 - float((residual / total).sum()) / len(total)


@partial(Metric, kinds=("numbers",), higher_is_better=False, has_units=True)
def rmse(a: Floats, y: Targets, weights: Floats | None = None, scales: Sequence[float] = (1.0,)) -> float:
    """Return the root of the mean squared error. scales: one factor for each output, from standardised numbers."""
    error = (a - y.T) * np.array(scales)[:, None]
    return math.sqrt(_mean(error * error, weights))


@partial(Metric, kinds=("numbers",), higher_is_better=False, has_units=True)
def mae(a: Floats, y: Targets, weights: Floats | None = None, scales: Sequence[float] = (1.0,)) -> float:
    """Return the mean absolute error. scales: one factor for each output, from standardised numbers."""
    return _mean(np.abs(a - y.T) * np.array(scales)[:, None], weights)


def _mean(values: Floats | Integers, weights: Floats | None) -> float:
    """Return the mean over the rows, which are the last axis, and all else."""
    if weights is None:
        return float(values.mean(dtype=np.float64))
    return float((values @ weights).mean(dtype=np.float64) / weights.sum(dtype=np.float64))


def _predicted(a: Floats, y: Targets) -> Integers:
    """Return the predicted labels, (rows,), or 0 and 1 for several labels, (labels, rows)."""
    if y.ndim > 1:
        return (a > 0.5).astype(np.intp)
    return a.argmax(axis=0) if len(a) > 1 else (a[0] > 0.5).astype(np.intp)


def _labels(y: Targets) -> Integers:
    return (y.T > 0.5).astype(np.intp) if y.ndim > 1 else y


def _counts(a: Floats, y: Targets, weights: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Return, for each class or label, how many rows are predicted right, are predicted, and truly have it.

    weights: a row counts as much as its weight.
    """
    classes = max(2, len(a)) if y.ndim == 1 else None
    predicted = _one_row_per_class(_predicted(a, y), classes)
    truth = _one_row_per_class(_labels(y), classes)
    every = (predicted & truth, predicted, truth)
    right, said, actual = (each.sum(axis=1) if weights is None else each @ weights for each in every)
    return right, said, actual


def _one_row_per_class(labels: Integers, classes: int | None) -> Integers:
    return labels == 1 if classes is None else labels[None, :] == np.arange(classes)[:, None]


def _ranked_above(score: Floats, wanted: Integers, weights: Floats | None) -> float:
    """Return Mann and Whitney's U as a share: rows of equal score count half. A pair counts as its weights' product."""
    positive = int(wanted.sum())
    if positive in (0, len(wanted)):
        return float("nan")
    own = np.ones(len(wanted)) if weights is None else weights.astype(np.float64)
    _, group = np.unique(score, return_inverse=True)
    above, below = np.bincount(group, own * wanted), np.bincount(group, own * ~wanted.astype(bool))
    total = above.sum() * below.sum()
    return float((above * (np.cumsum(below) - below / 2)).sum() / total) if total else float("nan")


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "top_2": top(2),
    "top_3": top(3),
    "top_5": top(5),
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
    "r2": r2,
    "rmse": rmse,
    "mae": mae,
}
"Every metric by its name in a specification."
