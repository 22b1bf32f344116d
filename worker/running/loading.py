"""Builds a job's training run from its specification and its table, and evaluates the trained network.

It reads the table, splits and encodes it. `networks/training.py` builds the engine's parts, which need no table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.arrays import Floats
from worker.backprop.batches import Part
from worker.backprop.fit import Training
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
from worker.data.joined import join_tables, with_targets
from worker.data.profiles import profile_table
from worker.data.roles import Roles, assign_roles
from worker.data.splits import Split, split_table
from worker.errors import DataError
from worker.insight.evaluation import (
    evaluate_classes,
    evaluate_labels,
    evaluate_numbers,
    logs_of_classes,
    logs_of_labels,
)
from worker.networks.layers import build_network, resolve_layers
from worker.networks.task import Task, build_metrics, resolve_task, row_weights
from worker.networks.trained import Trained
from worker.networks.training import build_training
from worker.networks.warm_start import adopt_encoders, adopt_roles, adopted_target, check_start, start_arrays
from worker.settings import Limits
from worker.specs.job import Job
from worker.specs.network import ResolvedLayer


@dataclass(frozen=True)
class Loaded:
    """A training run with what is needed to record and evaluate it.

    layers: the resolved layers, the output layer last.
    encoders: how rows of a table become the network's input.
    split: the row numbers of each part, among the rows that have a target and those of the parts' own tables.
    parts: `train`, `validation` and `test`, each with copies of its rows; None for a part that the job does not have.
    is_probable: whether the outputs for a category are probabilities.
    """

    training: Training
    layers: list[ResolvedLayer]
    encoders: Encoders
    split: Split
    parts: dict[str, Part | None]
    is_probable: bool


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
    table = with_targets(table, roles.targets)
    split = split_table(table, spec.training, _labels(table, roles))
    encoders = fit_encoders(table.take(split.train), roles, task.kind, standardised=task.standardised)
    if source is not None:
        encoders = adopt_encoders(encoders, task, roles, source.architecture)
    table, split = join_tables(table, split, own_tables, roles)
    dtype = np.dtype(spec.training.precision)
    x = encode_table(table, encoders, pool_unknown=True, dtype=dtype)
    targets = encode_targets(table, encoders.target)
    parts = _parts(split, x, targets, _row_weights(table, roles, task, targets, split), dtype)
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
        metrics=build_metrics(spec, task, target.scales if isinstance(target, NumberTarget) else ()),
        start=start,
        frozen=spec.frozen,
    )
    return Loaded(training, layers, encoders, split, parts, task.is_probable)


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


def evaluate(loaded: Loaded) -> dict[str, Any]:
    """Return the evaluation of the validation and test parts; None for a part that the job does not have."""
    parts = {name: loaded.parts[name] for name in ("validation", "test")}
    return {name: None if part is None else _evaluate_part(loaded, part) for name, part in parts.items()}


def _evaluate_part(loaded: Loaded, part: Part) -> dict[str, Any]:
    """Evaluate the mean of an ensemble's members; its loss is the mean of their losses."""
    training, target = loaded.training, loaded.encoders.target
    with np.errstate(all="ignore"):
        loss, _ = training.evaluate(training.final, part)
        z = training.network.last_z(training.final, part.x)
    if isinstance(target, ClassTarget):
        classes = list(target.classes)
        if loaded.is_probable:
            found = evaluate_classes(logs_of_classes(z), part.y, classes)
        else:
            found = evaluate_classes(_outputs(training, z), part.y, classes, are_logs=False)
    elif isinstance(target, LabelsTarget):
        found = evaluate_labels(logs_of_labels(z), part.y, list(target.names))
    else:
        outputs = _outputs(training, z)
        scales, means = np.array(target.scales), np.array(target.means)
        found = evaluate_numbers(outputs * scales + means, part.y * scales + means, list(target.names))
    return {"loss": float(loss.mean())} | found


def _outputs(training: Training, z: Floats) -> Floats:
    """Return the outputs for z, (rows, outputs). For an ensemble this is the mean over its members."""
    a = training.objective.activation.value(z).swapaxes(-1, -2)
    return a if training.final.members is None else a.mean(axis=0)
