"""What a job's target and loss come to: the kind of answer, its loss, its outputs and its metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from worker.backprop.activation import Activation
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError, Poisson, Quantile
from worker.backprop.losses.objective import Objective
from worker.backprop.metrics import OF_CLASSES, OF_LABELS, OF_NUMBERS, Metric, mae, rmse
from worker.data.encoders import ClassTarget, LabelsTarget, Target
from worker.data.roles import Roles
from worker.errors import SpecError
from worker.specs import losses as loss_specs
from worker.specs.job import Job
from worker.specs.network import ResolvedDense

OF_ACTIVATION = {
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "log_cosh": LogCosh,
}

METRICS: Mapping[str, Mapping[str, Metric]] = {"classes": OF_CLASSES, "labels": OF_LABELS, "numbers": OF_NUMBERS}


@dataclass(frozen=True)
class Task:
    """kind: one class of several, labels that are each there or not, or numbers.

    loss: its name; loss_spec: its numbers, where it has any. activation: of the output layer.
    """

    kind: Literal["classes", "labels", "numbers"]
    loss: str
    loss_spec: Any
    outputs: int
    activation: str
    classes: tuple[str, ...] | None

    @property
    def is_probable(self) -> bool:
        """Whether the outputs of a category are probabilities; those of a squared error need not be."""
        return self.activation == "softmax" or self.loss == "binary_cross_entropy"

    @property
    def standardised(self) -> bool:
        """Whether the network learns (target - mean) / scale; counts and labels stay what they are."""
        return self.kind == "numbers" and self.loss != "poisson"


def resolve_task(spec: Job, roles: Roles) -> Task:
    """Raises SpecError for a loss, an activation or a metric that the target can't have."""
    given = spec.training.loss
    loss = given if isinstance(given, str) else given.type
    if loss == "auto":
        loss = "cross_entropy" if roles.classes is not None else "mean_squared_error"
    kind: Literal["classes", "labels", "numbers"] = "classes" if roles.classes is not None else "numbers"
    outputs = roles.outputs
    if loss == "binary_cross_entropy":
        kind, outputs = _binary(roles)
    elif kind == "classes" and loss not in ("cross_entropy", "mean_squared_error"):
        raise SpecError("/training/loss", f"{loss} needs a number as target; this one is a category")
    elif loss == "cross_entropy" and kind != "classes":
        raise SpecError("/training/loss", "cross_entropy needs a category as target; this one is a number")
    elif loss == "poisson":
        _within(roles, 0, None, "poisson needs counts, 0 or more")
    task = Task(
        kind, loss, None if isinstance(given, str) else given, outputs, _activation(spec, loss, kind), roles.classes
    )
    _check_metrics(spec, task)
    _class_weights(task, np.zeros(0, np.int64))
    return task


def recorded_task(spec: Job, target: Target, output: ResolvedDense) -> Task:
    """The task of a job whose network stands already, from what its weights were published with."""
    given = spec.training.loss
    loss = given if isinstance(given, str) else given.type
    loss_spec = None if isinstance(given, str) else given
    classes = target.classes if isinstance(target, ClassTarget) else None
    if loss == "auto":
        loss = "mean_squared_error" if classes is None else "cross_entropy"
    kind: Literal["classes", "labels", "numbers"] = "numbers" if classes is None else "classes"
    if isinstance(target, LabelsTarget):
        kind = "labels"
    return Task(kind, loss, loss_spec, output.units, output.activation, classes)


def _binary(roles: Roles) -> tuple[Literal["classes", "labels"], int]:
    if roles.classes is None:
        _within(roles, 0, 1, "binary_cross_entropy needs columns of 0 and 1")
        return "labels", roles.outputs
    if len(roles.classes) != 2:
        raise SpecError(
            "/training/loss",
            f"binary_cross_entropy needs a target of two classes; this one has {len(roles.classes)}: use cross_entropy",
        )
    return "classes", 1


def _within(roles: Roles, low: float, high: float | None, detail: str) -> None:
    for name, (smallest, largest) in zip(roles.targets, roles.bounds, strict=True):
        if smallest < low or (high is not None and largest > high):
            raise SpecError("/training/loss", f"{detail}; {name!r} goes from {smallest:g} to {largest:g}")


def _activation(spec: Job, loss: str, kind: str) -> str:
    needed = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exponential"}.get(loss)
    given = spec.network.output.activation
    if given == "auto":
        return needed or ("softmax" if kind == "classes" else "identity")
    if kind == "classes" and needed is None and given not in ("softmax", "sigmoid"):
        # a squared error makes the outputs estimates of each class's probability; of others they could not be that
        raise SpecError("/network/output/activation", f"must be softmax or sigmoid for a category, got {given}")
    if needed == "exponential":
        raise SpecError("/network/output/activation", f"must be auto for poisson, got {given}")
    if needed is not None and given != needed:
        raise SpecError("/network/output/activation", f"must be {needed} for {loss}, got {given}")
    return given


def _check_metrics(spec: Job, task: Task) -> None:
    known = METRICS[task.kind]
    for n, name in enumerate(spec.training.metrics or ()):
        if name not in known:
            of = {"classes": "a category", "labels": "labels of 0 and 1", "numbers": "numbers"}[task.kind]
            raise SpecError(f"/training/metrics/{n}", f"is not a figure of {of}; these are: {', '.join(known)}")
        if name in ("log_loss", "roc_auc") and task.kind == "classes" and not task.is_probable:
            raise SpecError(f"/training/metrics/{n}", f"needs probabilities, which {task.activation} does not give")
        if task.classes is not None and name.startswith("top_") and int(name[4:]) >= len(task.classes):
            raise SpecError(f"/training/metrics/{n}", f"is always 1 of {len(task.classes)} classes")
    stopping = spec.training.early_stopping
    figures = ["loss", *metric_names(spec, task)]
    if stopping and stopping.monitor.partition("_")[2] not in figures:
        of_parts = [f"{part}_{name}" for part in ("validation", "train") for name in figures]
        raise SpecError("/training/early_stopping/monitor", f"is not recorded; these are: {', '.join(of_parts)}")


def metric_names(spec: Job, task: Task) -> tuple[str, ...]:
    """The metrics that this job records."""
    if spec.training.metrics is not None:
        return spec.training.metrics
    return ("r2",) if task.kind == "numbers" else ("accuracy",)


def build_metrics(spec: Job, task: Task, scales: Sequence[float]) -> dict[str, Metric]:
    """The functions. scales: of each numeric target, from standardised to the user's units."""
    known = dict(METRICS[task.kind])
    if task.kind == "numbers":
        known |= {"rmse": partial(rmse, scales=scales), "mae": partial(mae, scales=scales)}
    return {name: known[name] for name in metric_names(spec, task)}


def build_objective(task: Task) -> Objective:
    """The loss, joined with the output layer's activation."""
    activation: Activation = ACTIVATIONS[task.activation]
    smoothing = getattr(task.loss_spec, "label_smoothing", 0.0)
    match task.loss:
        case "cross_entropy":
            return SoftmaxCrossEntropy(smoothing)
        case "binary_cross_entropy":
            return BinaryCrossEntropy(smoothing)
        case "poisson":
            return Poisson()
        case "huber":
            return Huber(activation, (task.loss_spec or loss_specs.Huber(type="huber")).delta)
        case "quantile":
            return Quantile(activation, (task.loss_spec or loss_specs.Quantile(type="quantile")).quantile)
        case name:
            return OF_ACTIVATION[name](activation)


def row_weights(
    task: Task, targets: NDArray[Any], train: NDArray[np.int64], column: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """How much each row counts: by the weight column, by its class, or by both; None where all count alike.

    targets: encoded, of all rows; train: the rows of the training part, which alone say how frequent a class is.
    """
    of_class = _class_weights(task, targets[train])
    if of_class is None:
        return column
    return of_class[targets] if column is None else of_class[targets] * column


def _class_weights(task: Task, labels: NDArray[Any]) -> NDArray[np.float64] | None:
    asked = getattr(task.loss_spec, "class_weights", None)
    if asked is None:
        return None
    pointer = "/training/loss/class_weights"
    if task.kind != "classes" or task.classes is None:
        raise SpecError(pointer, "needs a category as target")
    if asked == "balanced":
        counts = np.bincount(labels, minlength=len(task.classes))
        return len(labels) / (len(task.classes) * np.maximum(counts, 1))
    for name in asked:
        if name not in task.classes:
            raise SpecError(f"{pointer}/{name}", f"is not a class; these are: {', '.join(task.classes[:10])}")
    return np.array([asked.get(name, 1.0) for name in task.classes])
