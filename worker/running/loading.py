"""Builds a job's training run from its specification and its table, and evaluates the trained network.

It reads the table, splits and encodes it. `networks/training.py` builds the engine's parts, which need no table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.arrays import Floats, Targets
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.folds import Folds, evaluate_folds, held_out_z
from worker.data.encoders import (
    ClassTarget,
    Encoders,
    LabelsTarget,
    NumberTarget,
    encode_targets,
    numbers_of,
)
from worker.data.encoding import encode_table
from worker.data.fitting import fit_encoders
from worker.data.folds import cut_folds
from worker.data.joined import join_tables, with_targets
from worker.data.profiles import profile_table
from worker.data.roles import Roles, assign_roles
from worker.data.splits import Rows, Split, split_table
from worker.errors import DataError
from worker.insight.evaluation import (
    evaluate_classes,
    evaluate_labels,
    evaluate_numbers,
    logs_of_classes,
    logs_of_labels,
)
from worker.networks.layers import build_network, resolve_layers
from worker.networks.outputs import Outputs, in_own_terms
from worker.networks.ranges import NONE
from worker.networks.task import Task, build_metrics, resolve_task, row_weights
from worker.networks.trained import Trained
from worker.networks.training import build_training
from worker.networks.warm_start import adopt_encoders, adopt_roles, adopted_target, check_start, start_arrays
from worker.settings import Limits
from worker.specs.job import Job
from worker.specs.network import ResolvedLayer
from worker.specs.prediction import PredictionOptions


@dataclass(frozen=True)
class Loaded:
    """A training run with what is needed to record and evaluate it.

    layers: the resolved layers, the output layer last.
    encoders: how rows of a table become the network's input.
    split: the row numbers of each part, among the rows that have a target and those of the parts' own tables.
    parts: `train`, `validation` and `test`, each with copies of its rows; None for a part that the job does not have.
    is_probable: whether the outputs for a category are probabilities.
    train_rows: the numbers in the job's table of the rows of the training part.
    """

    training: Training
    layers: list[ResolvedLayer]
    encoders: Encoders
    split: Split
    parts: dict[str, Part | None]
    is_probable: bool
    train_rows: Rows

    @cached_property
    def held_out_z(self) -> Floats | None:
        """The last z of each row of the training part, from the fold that did not train on it; None without folds.

        Read it when the training has finished: it is computed once, from the resulting weights.
        """
        training = self.training
        if training.folds is None:
            return None
        with np.errstate(all="ignore"):
            return held_out_z(training.network, training.final, training.train, training.folds.of_row)


def load(
    spec: Job,
    table: pa.Table,
    limits: Limits,
    source: Trained | None = None,
    own_tables: Mapping[str, pa.Table] = MappingProxyType({}),
) -> Loaded:
    """Encode the table, split it, and build the training run. Raises SpecError and DataError.

    Encoders are fitted on the training part only.
    source: the trained network that the job starts from; its encoders are adopted where they fit.
    own_tables: those of the parts that have one, by part.
    """
    roles = assign_roles(spec, profile_table(table, limits), limits)
    if source is not None:
        roles = adopt_roles(roles, source.architecture)
    task = resolve_task(spec, roles)
    table, numbers = with_targets(table, roles.targets)
    labels = _labels(table, roles)
    split = split_table(table, spec.training, labels)
    fold_of = cut_folds(split.train, spec.training, labels)
    encoders = fit_encoders(table.take(split.train), roles, task.kind, standardised=task.standardised)
    if source is not None:
        encoders = adopt_encoders(encoders, task, roles, source.architecture)
    train_rows = numbers[split.train]
    table, split = join_tables(table, split, own_tables, roles)
    dtype = np.dtype(spec.training.precision)
    x = encode_table(table, encoders, pool_unknown=True, dtype=dtype)
    targets = encode_targets(table, encoders.target)
    parts = _parts(split, x, targets, _row_weights(table, roles, task, targets, split), dtype)
    folds = None if fold_of is None else Folds.of(fold_of)
    _check_folds(folds, parts["train"])
    layers = resolve_layers(spec, task, encoders.columns)
    start = None
    if source is not None:
        check_start(spec, layers, encoders.width, source.architecture)
        keep_output = adopted_target(task, roles, source.architecture) is not None
        start = start_arrays(source, keep_output=keep_output)
    target = encoders.target
    train = parts["train"]
    assert train is not None  # noqa: S101 - split_rows always makes one
    training = build_training(
        spec.training,
        task,
        build_network(layers, encoders.width),
        train=train,
        validation=parts["validation"],
        folds=folds,
        metrics=build_metrics(spec, task, target.scales if isinstance(target, NumberTarget) else ()),
        start=start,
        frozen=spec.frozen,
    )
    return Loaded(training, layers, encoders, split, parts, task.is_probable, train_rows)


def _labels(table: pa.Table, roles: Roles) -> NDArray[Any] | None:
    """Return the class of each row, for a stratified split; None if the target is not a category."""
    if roles.classes is None:
        return None
    return encode_targets(table, ClassTarget(name=roles.targets[0], classes=roles.classes))


def _row_weights(
    table: pa.Table, roles: Roles, task: Task, targets: NDArray[Any], split: Split
) -> NDArray[np.float64] | None:
    """Return the weight of each row, from its column and its class; None if all rows count the same."""
    column = None
    if roles.weight is not None:
        column = numbers_of(table, [roles.weight])[:, 0]
        # only ratios matter, and a huge weight times the weight of its class may not be finite
        column = column / (column.max() or 1)
    return row_weights(task, targets, split.train, column)


def _parts(
    split: Split, x: Floats, targets: NDArray[Any], weights: NDArray[np.float64] | None, dtype: np.dtype[Any]
) -> dict[str, Part | None]:
    """Copy each row into its part. Raises DataError if all rows of a part have the weight 0."""
    parts: dict[str, Part | None] = {}
    for name, rows in split._asdict().items():
        if weights is not None and rows is not None and not weights[rows].any():
            raise DataError(f"every row of the {name} part has the weight 0")
        parts[name] = None if rows is None else Part.of(x, targets, rows, weights=weights, dtype=dtype)
    return parts


def _check_folds(folds: Folds | None, train: Part | None) -> None:
    """Raise DataError if all rows of a fold, or all others, have the weight 0."""
    if folds is None or train is None or train.weights is None:
        return
    for n, own in enumerate(folds.own):
        if not train.weights[own].any() or not train.weights[folds.of_row == n].any():
            raise DataError(f"every row of fold {n}, or every other row, has the weight 0")


def evaluate(loaded: Loaded) -> dict[str, Any]:
    """Return the evaluation of the validation and test parts; None for a part that the job does not have.

    With folds, the validation part is all rows of the training part, each as the network saw it that did not train on
    it; `folds` has the figures of each.
    """
    parts = {name: loaded.parts[name] for name in ("validation", "test")}
    found = {name: None if part is None else _evaluate_part(loaded, part) for name, part in parts.items()}
    if loaded.training.folds is not None and loaded.held_out_z is not None:
        found["validation"] = _evaluate_folds(loaded, loaded.training.folds, loaded.held_out_z)
    return found


def _evaluate_folds(loaded: Loaded, folds: Folds, z: Floats) -> dict[str, Any]:
    training, part = loaded.training, loaded.training.train
    with np.errstate(all="ignore"):
        losses, _ = evaluate_folds(training.objective, {}, z, part, folds.of_row)
        found = _figures(loaded, z, part.y, part.weights)
        own = [np.flatnonzero(folds.of_row == n) for n in range(len(losses))]
        weights = [None if part.weights is None else part.weights[rows] for rows in own]
        each = [_figures(loaded, z[:, rows], part.y[rows], w) for rows, w in zip(own, weights, strict=True)]
    figures = [{"loss": float(loss)} | one["metrics"] for loss, one in zip(losses, each, strict=True)]
    return {"loss": float(losses.mean())} | found | {"folds": [_spread(name, figures) for name in figures[0]]}


def held_out_predictions(loaded: Loaded) -> pa.Table | None:
    """Return what each network of a cross-validation predicts for its fold, by row of the job's table; None without."""
    training, folds = loaded.training, loaded.training.folds
    if folds is None or loaded.held_out_z is None:
        return None
    with np.errstate(all="ignore"):
        values = in_own_terms(_outputs(training, loaded.held_out_z), loaded.encoders.target)
    predicted = Outputs(values, None, loaded.encoders.target, NONE).table(PredictionOptions())
    return predicted.add_column(0, "fold", [folds.of_row]).add_column(0, "row", [loaded.train_rows])


def _spread(name: str, folds: list[dict[str, float | None]]) -> dict[str, Any]:
    """Return a figure of each fold, its mean and its standard deviation. None for one that a fold does not have."""
    each = [fold[name] for fold in folds]
    known = np.array([value for value in each if value is not None])
    is_whole = len(known) == len(each)
    mean, deviation = (float(known.mean()), float(known.std(ddof=1))) if is_whole else (None, None)
    return {"name": name, "mean": mean, "deviation": deviation, "each": each}


def _evaluate_part(loaded: Loaded, part: Part) -> dict[str, Any]:
    """Evaluate the mean of an ensemble's members; its loss is the mean of their losses."""
    training = loaded.training
    with np.errstate(all="ignore"):
        loss, _ = training.evaluate(training.final, part)
        z = training.network.last_z(training.final, part.x)
    return {"loss": float(loss.mean())} | _figures(loaded, z, part.y, part.weights)


def _figures(loaded: Loaded, z: Floats, y: Targets, weights: Floats | None) -> dict[str, Any]:
    """Return the metrics, and where the outputs err. z: (units, rows), or (members, units, rows)."""
    training, target = loaded.training, loaded.encoders.target
    if isinstance(target, ClassTarget):
        classes = list(target.classes)
        if loaded.is_probable:
            return evaluate_classes(logs_of_classes(z), y, classes, weights)
        return evaluate_classes(_outputs(training, z), y, classes, weights, are_logs=False)
    if isinstance(target, LabelsTarget):
        return evaluate_labels(logs_of_labels(z), y, list(target.names), weights)
    outputs = _outputs(training, z)
    scales, means = np.array(target.scales), np.array(target.means)
    return evaluate_numbers(outputs * scales + means, y * scales + means, list(target.names), weights)


def _outputs(training: Training, z: Floats) -> Floats:
    """Return the outputs for z, (rows, outputs). For an ensemble this is the mean over its members."""
    a = training.objective.activation.value(z).swapaxes(-1, -2)
    return a if a.ndim == 2 else a.mean(axis=0)
