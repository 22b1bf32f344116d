"""Specification -> network, loss, optimizer, and what they cost: the only place that knows both sides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import Floats
from worker.backprop.fit import Part, Patience, Plan, Training
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers import Dense, Dropout, Layer
from worker.backprop.losses import MeanSquaredError, Objective, SoftmaxCrossEntropy
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam, Optimizer, Sgd
from worker.backprop.schedules import constant
from worker.data.roles import Roles
from worker.data.splits import ROWS_FOR_VALIDATION
from worker.errors import SpecError
from worker.settings import Limits
from worker.specs import network as layer_specs
from worker.specs import training as training_specs
from worker.specs.job import Job

LAYERS: TypeAdapter[list[layer_specs.Layer]] = TypeAdapter(list[layer_specs.Layer])


@dataclass(frozen=True)
class Cost:
    """What a job would take, by arithmetic in Python's integers: nothing is allocated."""

    layers: list[dict[str, Any]]
    parameters: int
    memory_bytes: int
    flops: int


def resolve_layers(spec: Job, roles: Roles) -> list[layer_specs.Layer]:
    """The layers as they will be built, the output layer last, nothing left at `auto`. Raises SpecError."""
    loss = resolve_loss(spec, roles)
    activation = spec.network.output.activation
    if activation == "auto":
        activation = "softmax" if roles.classes is not None else "identity"
    if loss == "cross_entropy" and activation != "softmax":
        raise SpecError("/network/output/activation", f"must be softmax for cross_entropy, got {activation}")
    output = layer_specs.DenseLayer(
        type="dense",
        units=roles.outputs,
        activation=activation,
        initializer=spec.network.output.initializer,
    )
    return [_resolved(layer) for layer in (*spec.network.layers, output)]


def _resolved(layer: layer_specs.Layer) -> layer_specs.Layer:
    if isinstance(layer, layer_specs.DenseLayer) and layer.initializer == "auto":
        initializer = "he_normal" if layer.activation == "relu" else "glorot_uniform"
        return layer.model_copy(update={"initializer": initializer})
    return layer


def resolve_loss(spec: Job, roles: Roles) -> str:
    """cross_entropy or mean_squared_error. Raises SpecError for a loss that the target can't have."""
    loss = spec.training.loss
    if loss == "auto":
        return "cross_entropy" if roles.classes is not None else "mean_squared_error"
    if loss == "cross_entropy" and roles.classes is None:
        raise SpecError("/training/loss", "cross_entropy needs a category as target; this one is a number")
    return loss


def build_network(layers: Sequence[layer_specs.Layer], inputs: int) -> Network:
    """The network of resolved layers."""
    built: list[Layer] = []
    for layer in layers:
        if isinstance(layer, layer_specs.DropoutLayer):
            built.append(Dropout(inputs, layer.rate))
        else:
            built.append(Dense(inputs, layer.units, ACTIVATIONS[layer.activation], INITIALIZERS[layer.initializer]))
            inputs = layer.units
    return Network(built)


def build_training(
    spec: Job, roles: Roles, layers: Sequence[layer_specs.Layer], *, train: Part, validation: Part | None
) -> Training:
    """A training run that has not begun. x of the parts: (rows, inputs) float32; y as `objective_targets` gives it."""
    training = spec.training
    network = build_network(layers, train.x.shape[1])
    stopping = training.early_stopping
    plan = Plan(
        epochs=training.epochs,
        batch_size=training.batch_size,
        seed=training.seed,
        l2=training.l2,
        clip_norm=training.clip_norm,
        monitor=stopping.monitor if stopping else "validation_loss",
        patience=Patience(stopping.patience, stopping.minimum_delta, stopping.restore_best) if stopping else None,
    )
    return Training(
        network,
        build_objective(spec, roles, network),
        _optimizer(training.optimizer),
        constant(training.optimizer.learning_rate),
        plan,
        train=train,
        validation=validation,
        metrics={"accuracy": accuracy} if roles.classes is not None else {"r2": r2},
    )


def build_objective(spec: Job, roles: Roles, network: Network) -> Objective:
    if resolve_loss(spec, roles) == "cross_entropy":
        return SoftmaxCrossEntropy()
    return MeanSquaredError(network.output.activation)


def objective_targets(spec: Job, roles: Roles, targets: Any) -> Any:
    """Encoded targets as the loss takes them: labels for cross-entropy, one-hot for a squared error of a category."""
    if roles.classes is None or resolve_loss(spec, roles) == "cross_entropy":
        return targets
    return np.eye(len(roles.classes), dtype=np.float32)[targets]


def _optimizer(spec: training_specs.Optimizer) -> Callable[[Floats], Optimizer]:
    if isinstance(spec, training_specs.Sgd):
        return lambda like: Sgd(like, momentum=spec.momentum)
    return lambda like: Adam(like, beta1=spec.beta1, beta2=spec.beta2, epsilon=spec.epsilon)


def estimate_cost(spec: Job, roles: Roles, limits: Limits) -> Cost:
    """Shapes, parameters, peak memory and FLOPs. Raises SpecError past a limit, naming the figure and the limit."""
    shapes: list[dict[str, Any]] = []
    inputs, parameters, products, activations = roles.inputs, 0, 0, 0
    for layer in resolve_layers(spec, roles):
        units = layer.units if isinstance(layer, layer_specs.DenseLayer) else inputs
        own = (inputs + 1) * units if isinstance(layer, layer_specs.DenseLayer) else 0
        shapes.append({"type": layer.type, "inputs": inputs, "outputs": units, "parameters": own})
        parameters += own
        products += own
        activations += 3 * units
        inputs = units
    training = spec.training
    batch = min(training.batch_size, roles.rows)
    # weights, gradient, best, one copy for a checkpoint, and the optimizer's moments with its scratch
    copies = 4 + (3 if training.optimizer.type == "adam" else 1)
    values = parameters * copies + batch * activations + 3 * roles.rows * (roles.inputs + roles.outputs)
    # a product costs 2 FLOPs; backward has two of forward's size
    flops = 6 * products * roles.rows * training.epochs
    cost = Cost(shapes, parameters, 4 * values, flops)
    for figure, limit, unit in (
        (cost.parameters, limits.parameters, "parameters"),
        (cost.memory_bytes, limits.memory_bytes, "bytes of memory"),
    ):
        if figure > limit:
            raise SpecError("/network/layers", f"needs {figure} {unit}; the limit is {limit}")
    if cost.flops > limits.flops:
        raise SpecError(
            "/training/epochs", f"needs {cost.flops:.3g} floating point operations; the limit is {limits.flops:.3g}"
        )
    return cost


def part_rows(spec: Job, rows: int) -> dict[str, int]:
    """How many rows each part gets. Raises SpecError if none is left to train on."""
    training = spec.training
    test = round(training.test.fraction * rows) if training.test else 0
    validation = round(training.validation.fraction * rows) if rows >= ROWS_FOR_VALIDATION else 0
    train = rows - test - validation
    if train < 1:
        detail = f"with the test part it takes {validation + test} of {rows} rows; none is left to train on"
        raise SpecError("/training/validation/fraction", detail)
    return {"train": train, "validation": validation, "test": test}
