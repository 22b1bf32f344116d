"""A claimed job's specification -> its table, encoded and split -> a training run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.fit import Part, Training
from worker.build import LAYERS, build_training, objective_targets, resolve_layers
from worker.data.encoders import ClassTarget, Encoders, encode_table, encode_targets, fit_encoders
from worker.data.profiles import profile_table
from worker.data.roles import Roles, assign_roles
from worker.data.splits import Split, split_rows
from worker.insight.evaluation import evaluate_classes, evaluate_numbers
from worker.records.weights import Recipe
from worker.settings import Limits
from worker.specs.job import Job


@dataclass(frozen=True)
class Loaded:
    """All that a run needs. x: the whole table, (rows, inputs); targets: encoded, not yet as the loss takes them."""

    spec: Job
    roles: Roles
    training: Training
    recipe: Recipe
    encoders: Encoders
    split: Split
    x: NDArray[np.float32]
    targets: NDArray[Any]


def load(spec: Job, table: pa.Table, limits: Limits) -> Loaded:
    """Encoders are fitted on the training part only. Raises SpecError and DataError."""
    roles = assign_roles(spec, profile_table(table, limits), limits)
    labels = None
    if roles.classes is not None:
        labels = encode_targets(table, ClassTarget(name=roles.targets[0], classes=roles.classes))
    split = split_rows(table.num_rows, spec.training, labels)
    encoders = fit_encoders(table.take(split.train), roles)
    x = encode_table(table, encoders, pool_unknown=True)
    targets = encode_targets(table, encoders.target)
    layers = resolve_layers(spec, roles)
    y = objective_targets(spec, roles, targets)
    training = build_training(
        spec,
        roles,
        layers,
        train=Part(x[split.train], y[split.train]),
        validation=None if split.validation is None else Part(x[split.validation], y[split.validation]),
    )
    recipe = Recipe(LAYERS.dump_python(layers, mode="json"), encoders.model_dump(mode="json"))
    return Loaded(spec, roles, training, recipe, encoders, split, x, targets)


def evaluate(loaded: Loaded) -> dict[str, Any]:
    """The trained network on the validation and the test part: `{"validation": ... or None, "test": ... or None}`."""
    parts = {"validation": loaded.split.validation, "test": loaded.split.test}
    return {name: None if rows is None else _evaluate_part(loaded, rows) for name, rows in parts.items()}


def _evaluate_part(loaded: Loaded, rows: NDArray[np.int64]) -> dict[str, Any]:
    training, target = loaded.training, loaded.encoders.target
    y = objective_targets(loaded.spec, loaded.roles, loaded.targets[rows])
    loss, _ = training.evaluate(training.final, Part(loaded.x[rows], y))
    outputs = training.network.forward(training.final, loaded.x[rows])
    if isinstance(target, ClassTarget):
        found = evaluate_classes(outputs, loaded.targets[rows], list(target.classes))
    else:
        scales, means = np.array(target.scales), np.array(target.means)
        actual = loaded.targets[rows] * scales + means
        found = evaluate_numbers(outputs * scales + means, actual, list(target.names))
    return {"loss": loss} | found
