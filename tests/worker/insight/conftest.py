"""Networks of every kind as the record would give them, with random weights in float64, and some rows for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.conftest import spec_of
from worker.backprop.arrays import Floats, Targets
from worker.backprop.layers.embedding import Embedding
from worker.backprop.losses.table import LOSSES
from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, LabelsTarget, NumberTarget, NumericCode
from worker.insight.address import Address
from worker.insight.subject import Moment, Subject
from worker.networks.layers import build_network, resolve_layers
from worker.networks.task import build_objective, recorded_task
from worker.networks.trained import Trained
from worker.specs.job import Job
from worker.specs.network import ResolvedDense

CATEGORIES = ("red", "green", "blue")
ROWS = 5

Layers = Sequence[dict[str, Any]]


def dense(units: int, activation: str = "tanh") -> dict[str, Any]:
    return {"type": "dense", "units": units, "activation": activation}


def encoders_of(loss: str, outputs: int, *, embedded: bool) -> Encoders:
    """Return encoders of three numbers, a category if it is embedded, and a target that fits the loss."""
    features: list[Any] = [NumericCode(name=f"x{n}", median=0, mean=0, scale=1) for n in range(3)]
    if embedded:
        code = CategoricalCode(name="kind", categories=CATEGORIES, missing=False, most_frequent="red", embedded=True)
        features.insert(1, code)
    names = tuple(f"y{n}" for n in range(outputs))
    target: Any = NumberTarget(names=names, means=(0.0,) * outputs, scales=(1.0,) * outputs)
    if loss in ("cross_entropy", "class_squared_error"):
        target = ClassTarget(name="label", classes=names)
    elif loss == "binary_cross_entropy":
        target = LabelsTarget(names=names)
    return Encoders(features=tuple(features), target=target)


def subject_of(
    layers: Layers, loss: Any = "mean_squared_error", outputs: int = 2, *, activation: str = "auto", **training: Any
) -> Subject:
    """Return a network of these hidden layers. loss: as in a specification, or `class_squared_error` for a category."""
    name = loss if isinstance(loss, str) else loss["type"]
    encoders = encoders_of(name, outputs, embedded=any(layer["type"] == "embedding" for layer in layers))
    given = "mean_squared_error" if loss == "class_squared_error" else loss
    spec = spec_of(network={"layers": list(layers)}, training={"loss": given, **training})
    final = "softmax" if loss == "class_squared_error" else LOSSES[name].output or "identity"
    return build_subject(spec, encoders, outputs, final if activation == "auto" else activation)


def build_subject(spec: Job, encoders: Encoders, outputs: int, activation: str) -> Subject:
    output = ResolvedDense(type="dense", units=outputs, activation=activation, initializer="glorot_uniform")
    task = recorded_task(spec, encoders.target, output)
    resolved = resolve_layers(spec, task, encoders.columns)
    network = build_network(resolved, encoders.width)
    parameters = network.parameters(np.float64)
    generator = np.random.default_rng(3)
    parameters.flat[...] = generator.normal(0, 0.7, parameters.flat.shape)
    for layer, views in zip(network.layers, parameters.views, strict=True):
        for name, array in views.items():
            if name.rpartition(".")[2] == "variance":
                array[...] = generator.uniform(0.3, 2, array.shape)
        if isinstance(layer, Embedding):
            views["w"][-1] = 0
    return Subject(
        job_id="job_0",
        spec=spec,
        trained=Trained(resolved, encoders, parameters.named()),
        task=task,
        objective=build_objective(task),
        member=0,
        moment=Moment("final", 1),
        rate=spec.training.optimizer.learning_rate,
        slots={},
        optimizer_steps=0,
    )


def rows_for(subject: Subject, count: int = ROWS) -> tuple[Floats, Targets]:
    """Return random rows, with a category in column 1 if there is one, and targets."""
    generator = np.random.default_rng(11)
    x = generator.normal(size=(count, subject.network.inputs))
    if subject.network.inputs == 4:
        x[:, 1] = np.arange(count) % len(CATEGORIES)
    outputs = subject.network.outputs
    target = subject.encoders.target
    if isinstance(target, ClassTarget):
        return x, generator.integers(0, outputs, count)
    if isinstance(target, LabelsTarget):
        return x, generator.integers(0, 2, (count, outputs)).astype(np.float64)
    return x, generator.integers(0, 4, (count, outputs)) + generator.uniform(0.1, 0.4, (count, outputs))


def addresses(subject: Subject) -> list[tuple[Address, str, tuple[int, ...]]]:
    """Return the address of every trained number, with the name of its array and its place there."""
    found: list[tuple[Address, str, tuple[int, ...]]] = []
    for name, array in subject.parameters.named().items():
        _, layer, *rest = name.split(".")
        inner, kind = (int(rest[1]) if len(rest) > 1 else None), rest[-1]
        if kind in ("mean", "variance"):
            continue
        embedding = inner is None and isinstance(subject.network.layers[int(layer)], Embedding)
        for index in np.ndindex(array[:-1].shape if embedding else array.shape):
            source: Any = index[0] if kind == "w" else {"b": "bias"}.get(kind, kind)
            found.append((Address(int(layer), source, index[-1], inner), name, index))
    return found
