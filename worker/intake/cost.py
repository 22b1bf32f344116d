"""What a job would take, by arithmetic, before anything is allocated."""

from dataclasses import dataclass
from typing import Any

from worker.backprop.layer_figures import DEAD_ROWS
from worker.backprop.measuring import EVALUATION_ROWS
from worker.data.roles import Roles
from worker.data.splits import ROWS_FOR_VALIDATION
from worker.errors import SpecError
from worker.networks.layers import resolve_layers, units_after
from worker.networks.task import resolve_task
from worker.networks.training import OPTIMIZERS, check_training
from worker.settings import Limits
from worker.specs import network as layer_specs
from worker.specs.job import Job
from worker.specs.training import Training

REPLAY_BYTES = 32 * 2**20
"Of all tensors of the steps that are kept."


@dataclass(frozen=True)
class Cost:
    """layers: each with inputs, outputs and parameters. parameters: of one member, without running statistics."""

    layers: list[dict[str, Any]]
    parameters: int
    memory_bytes: int
    flops: int


@dataclass
class Sums:
    """Over layers: parameters, multiplications of one row's forward pass, and values that a row keeps in training."""

    parameters: int = 0
    products: int = 0
    activations: int = 0

    def add(self, layer: Any, inputs: int) -> int:
        """Take in a layer that so many units enter; how many leave it."""
        units = units_after(layer, inputs)
        match layer:
            case layer_specs.DenseLayer():
                own = (inputs + 1) * units
                self.products += own
            case layer_specs.BatchNormLayer() | layer_specs.LayerNormLayer():
                own = 2 * units
            case layer_specs.ResolvedEmbedding():
                own = (layer.categories + 1) * layer.dimensions
            case layer_specs.ResidualLayer():
                own, within = 0, inputs
                for inner in layer.layers:
                    within = self.add(inner, within)
            case _:
                own = 0
        self.parameters += own
        self.activations += 3 * units
        return units


def estimate_cost(spec: Job, roles: Roles, limits: Limits) -> Cost:
    """Shapes, parameters, peak memory and FLOPs. Raises SpecError past a limit, naming the figure and the limit."""
    task = resolve_task(spec, roles)
    shapes: list[dict[str, Any]] = []
    sums, inputs = Sums(), roles.inputs
    for layer in resolve_layers(spec, task, roles.columns):
        before = sums.parameters
        units = sums.add(layer, inputs)
        shapes.append(
            {
                "type": layer.type,
                "inputs": inputs,
                "outputs": units,
                "activation": getattr(layer, "activation", None),
                "parameters": sums.parameters - before,
            }
        )
        inputs = units
    training = spec.training
    check_training(spec)
    batch = min(training.batch_size, roles.rows)
    # a forward pass outside training holds what enters a layer, its z and its a; figures of the layers hold all
    measured = max(3 * EVALUATION_ROWS * max(shape["outputs"] for shape in shapes), DEAD_ROWS * sums.activations)
    # weights, gradient, a copy for a checkpoint and one where figures of the layers are taken, the best epoch's, the
    # optimizer's slots
    slots = len(OPTIMIZERS[training.optimizer.type].slot_names)
    copies = 4 + slots + bool(training.early_stopping) + (training.accumulate > 1)
    of_members = training.ensemble * (
        sums.parameters * copies + batch * sums.activations + measured + roles.rows * inputs
    )
    kept = _kept_values(spec, sums, roles.inputs, batch, slots)
    values = of_members + kept + 3 * roles.rows * (roles.inputs + inputs)
    # a product costs 2 FLOPs; backward has two of forward's size
    flops = 6 * sums.products * roles.rows * training.epochs * training.ensemble
    cost = Cost(shapes, sums.parameters, values * (8 if training.precision == "float64" else 4), flops)
    for figure, limit, unit in (
        (cost.parameters * training.ensemble, limits.parameters, "parameters"),
        (cost.memory_bytes, limits.memory_bytes, "bytes of memory"),
    ):
        if figure > limit:
            raise SpecError("/network/layers", f"needs {figure} {unit}; the limit is {limit}")
    if cost.flops > limits.flops:
        raise SpecError(
            "/training/epochs", f"needs {cost.flops:.3g} floating point operations; the limit is {limits.flops:.3g}"
        )
    return cost


def _kept_values(spec: Job, sums: Sums, inputs: int, batch: int, slots: int) -> int:
    """How many values the steps take of which all is kept. Raises SpecError if they are too many."""
    # before, after, gradient and update, and slots; of a row x, targets, and at most z, a, dL/da, dL/dz and one more
    of_step = sums.parameters * (4 + slots) + batch * (inputs + 2 * sums.activations)
    values = of_step * len(spec.training.replay_steps)
    needed = values * (8 if spec.training.precision == "float64" else 4)
    if needed > REPLAY_BYTES:
        raise SpecError("/training/replay_steps", f"would keep {needed} bytes; the limit is {REPLAY_BYTES}")
    return values


def check_steps(training: Training, rows: int) -> None:
    """Raise SpecError for a step to be kept that this run does not have. rows: of the training part."""
    steps = training.epochs * -(-rows // min(training.batch_size, rows))
    for n, step in enumerate(training.replay_steps):
        if step > steps:
            raise SpecError(f"/training/replay_steps/{n}", f"is past the {steps} steps of this run")


def part_rows(spec: Job, rows: int) -> dict[str, int]:
    """How many rows each part gets. Raises SpecError if none is left to train on."""
    training = spec.training
    test = round(training.test.fraction * rows) if training.test else 0
    validation = round(training.validation.fraction * rows) if rows >= ROWS_FOR_VALIDATION else 0
    for name, size, asked in (("test", test, training.test), ("validation", validation, training.validation)):
        if asked and asked.fraction and not size and (name == "test" or rows >= ROWS_FOR_VALIDATION):
            raise SpecError(f"/training/{name}/fraction", f"{asked.fraction:g} of {rows} rows is no row")
    train = rows - test - validation
    if train < 1:
        detail = f"with the test part it takes {validation + test} of {rows} rows; none is left to train on"
        raise SpecError("/training/validation/fraction", detail)
    return {"train": train, "validation": validation, "test": test}
