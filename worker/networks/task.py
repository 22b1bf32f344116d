"""The task of a job, which follows from its target and its loss: kind of target, outputs, activation and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from worker.backprop.activations import ACTIVATIONS
from worker.backprop.losses.objective import Kind, Objective
from worker.backprop.losses.table import LOSSES
from worker.backprop.metrics import METRICS, Metric
from worker.data.encoders import ClassTarget, LabelsTarget, NumberTarget, Target
from worker.data.roles import Roles
from worker.errors import SpecError
from worker.specs.job import Job
from worker.specs.losses import ClassWeights, LossWithNumbers
from worker.specs.network import Activation, ResolvedDense

LOSS: TypeAdapter[LossWithNumbers] = TypeAdapter(LossWithNumbers)
KINDS_IN_WORDS: dict[Kind, str] = {"classes": "a category", "labels": "labels of 0 and 1", "numbers": "numbers"}


@dataclass(frozen=True)
class Task:
    """What a network learns.

    kind: what the target is: one class of several, labels that each apply or not, or numbers.
    loss_spec: the loss with all its parameters, including defaults.
    outputs: the number of units of the output layer.
    activation: the name of the output layer's activation.
    classes: the classes of a category; None for labels and numbers.
    """

    kind: Kind
    loss_spec: LossWithNumbers
    outputs: int
    activation: str
    classes: tuple[str, ...] | None

    @property
    def loss(self) -> str:
        return self.loss_spec.type

    @property
    def objective(self) -> type[Objective]:
        """The class of the loss, whose attributes say what targets and activations it takes."""
        return LOSSES[self.loss]

    @property
    def is_probable(self) -> bool:
        """Whether the outputs for a category are probabilities. With a squared error they may not be."""
        return self.objective.probable or ACTIVATIONS[self.activation].probabilities == "classes"

    @property
    def standardised(self) -> bool:
        """Whether the network learns (target - mean) / scale rather than the target itself."""
        return self.kind == "numbers" and self.objective.standardises

    @property
    def class_weights(self) -> ClassWeights | None:
        """The weight of a row of each class; None if the loss has none."""
        return getattr(self.loss_spec, "class_weights", None)


def resolve_task(spec: Job, roles: Roles) -> Task:
    """Return the task of a job. Raises SpecError for a loss, an activation or a metric that the target can't have."""
    loss_spec = _loss_spec(spec, is_category=roles.classes is not None)
    kind, outputs = _kind_and_outputs(loss_spec.type, roles)
    activation = _activation(spec.network.output.activation, loss_spec.type, kind)
    task = Task(kind, loss_spec, outputs, activation, roles.classes)
    _check_metrics(spec, task)
    _class_weights(task, np.zeros(0, np.int64))
    return task


def recorded_task(spec: Job, target: Target, output: ResolvedDense) -> Task:
    """Return the task of a job whose weights are published. target, output: those that were published with them."""
    kind: Kind
    match target:
        case ClassTarget():
            kind = "classes"
        case LabelsTarget():
            kind = "labels"
        case NumberTarget():
            kind = "numbers"
        case _:
            assert_never(target)
    classes = target.classes if isinstance(target, ClassTarget) else None
    return Task(kind, _loss_spec(spec, is_category=classes is not None), output.units, output.activation, classes)


def _loss_spec(spec: Job, *, is_category: bool) -> LossWithNumbers:
    """Return the loss with its parameters. `auto` becomes the default loss for a category or for numbers."""
    given = spec.training.loss
    if not isinstance(given, str):
        return given
    if given == "auto":
        given = "cross_entropy" if is_category else "mean_squared_error"
    return LOSS.validate_python({"type": given})


def _kind_and_outputs(name: str, roles: Roles) -> tuple[Kind, int]:
    """Return the kind of target for this loss, and how many outputs it needs. Raises SpecError if they do not fit."""
    loss = LOSSES[name]
    if roles.classes is None:
        if loss.columns_kind is None:
            raise SpecError("/training/loss", f"{name} needs a category as target; this one is a number")
        _check_bounds(name, roles)
        return loss.columns_kind, roles.outputs
    if not loss.takes_category:
        raise SpecError("/training/loss", f"{name} needs a number as target; this one is a category")
    if not loss.two_classes:
        return "classes", roles.outputs
    if len(roles.classes) != 2:
        detail = f"{name} needs a target of two classes; this one has {len(roles.classes)}: use cross_entropy"
        raise SpecError("/training/loss", detail)
    return "classes", 1


def _check_bounds(name: str, roles: Roles) -> None:
    bounds = LOSSES[name].bounds
    if bounds is None:
        return
    for column, (smallest, largest) in zip(roles.targets, roles.bounds, strict=True):
        if smallest < bounds.lowest or largest > bounds.highest:
            detail = f"{name} needs {bounds.many}; {column!r} goes from {smallest:g} to {largest:g}"
            raise SpecError("/training/loss", detail)


def _activation(given: str, name: str, kind: Kind) -> str:
    """Return the output layer's activation. Raises SpecError if the loss can't have the one that was asked for."""
    needed, pointer = LOSSES[name].output, "/network/output/activation"
    if given == "auto":
        return needed or ("softmax" if kind == "classes" else "identity")
    if needed is None:
        # with a squared error each output estimates the probability of its class, so it must be a probability
        if kind == "classes" and ACTIVATIONS[given].probabilities is None:
            able = " or ".join(name for name in reversed(ACTIVATIONS) if ACTIVATIONS[name].probabilities)
            raise SpecError(pointer, f"must be {able} for a category, got {given}")
    elif given != needed:
        # the activation of the poisson loss has no name in a specification: only `auto` selects it
        asked = needed if needed in get_args(Activation) else "auto"
        raise SpecError(pointer, f"must be {asked} for {name}, got {given}")
    return given


def _check_metrics(spec: Job, task: Task) -> None:
    known = [name for name, metric in METRICS.items() if task.kind in metric.kinds]
    for n, name in enumerate(spec.training.metrics or ()):
        pointer, metric = f"/training/metrics/{n}", METRICS[name]
        if name not in known:
            detail = f"is not a figure of {KINDS_IN_WORDS[task.kind]}; these are: {', '.join(known)}"
            raise SpecError(pointer, detail)
        if metric.needs_probabilities and task.kind == "classes" and not task.is_probable:
            raise SpecError(pointer, f"needs probabilities, which {task.activation} does not give")
        if task.classes is not None and len(task.classes) <= metric.above_classes:
            raise SpecError(pointer, f"is always 1 of {len(task.classes)} classes")
    stopping = spec.training.early_stopping
    figures = ["loss", *metric_names(spec, task)]
    if stopping and stopping.monitor.partition("_")[2] not in figures:
        of_parts = [f"{part}_{name}" for part in ("validation", "train") for name in figures]
        raise SpecError("/training/early_stopping/monitor", f"is not recorded; these are: {', '.join(of_parts)}")


def metric_names(spec: Job, task: Task) -> tuple[str, ...]:
    """Return the names of the metrics that this job records."""
    if spec.training.metrics is not None:
        return spec.training.metrics
    return ("r2",) if task.kind == "numbers" else ("accuracy",)


def build_metrics(spec: Job, task: Task, scales: Sequence[float]) -> dict[str, Metric]:
    """Return the metrics by name. scales: one factor for each numeric target, from standardised to the user's units."""
    return {name: METRICS[name].in_units(scales) for name in metric_names(spec, task)}


def build_objective(task: Task) -> Objective:
    """Return the loss, joined with the output layer's activation."""
    return task.objective.of(ACTIVATIONS[task.activation], task.loss_spec.model_dump())


def row_weights(
    task: Task, targets: NDArray[Any], train: NDArray[np.int64], column: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Return the weight of each row, from the weight column, its class, or both; None if all rows count the same.

    targets: the encoded targets of all rows.
    train: the rows of the training part, in which the frequency of each class is counted.
    column: the weight column, (rows,), if there is one.
    """
    of_class = _class_weights(task, targets[train])
    if of_class is None:
        return column
    return of_class[targets] if column is None else of_class[targets] * column


def _class_weights(task: Task, labels: NDArray[Any]) -> NDArray[np.float64] | None:
    asked = task.class_weights
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
