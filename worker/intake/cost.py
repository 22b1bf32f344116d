"""The parameters, memory and FLOPs that a job needs, computed by arithmetic before anything is allocated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from worker.backprop.layer_figures import DEAD_ROWS
from worker.backprop.measuring import EVALUATION_ROWS
from worker.backprop.optimizers import OPTIMIZERS
from worker.data.roles import Roles
from worker.errors import SpecError
from worker.networks.layers import units_after
from worker.settings import Limits
from worker.specs import network as layer_specs
from worker.specs.network import ResolvedLayer
from worker.specs.training import Training

REPLAY_BYTES = 32 * 2**20
"The most bytes that the tensors of all kept steps may take."


@dataclass(frozen=True)
class Cost:
    """What a job needs.

    layers: type, inputs, outputs, activation and parameters of each layer, as the API shows them.
    parameters: how many numbers are trained in one member, without running figures.
    memory_bytes: the estimated peak memory of the run.
    flops: the floating point operations of the whole run.
    """

    layers: list[dict[str, Any]]
    parameters: int
    memory_bytes: int
    flops: int


@dataclass
class Sums:
    """Sums over layers.

    parameters: the numbers that are trained.
    products: the multiplications in the forward pass of one row.
    activations: the numbers that training keeps for one row.
    """

    parameters: int = 0
    products: int = 0
    activations: int = 0

    def add(self, layer: ResolvedLayer | layer_specs.InnerLayer, inputs: int) -> int:
        """Add a layer and return its units. inputs: how many units enter it."""
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
            case layer_specs.DropoutLayer():
                own = 0
            case _:
                assert_never(layer)
        self.parameters += own
        self.activations += 3 * units
        return units


def estimate_cost(training: Training, layers: Sequence[ResolvedLayer], roles: Roles, limits: Limits) -> Cost:
    """Return what the job needs. Raises SpecError, with the figure and the limit, if it is past a limit."""
    shapes, sums = _shapes(layers, roles.inputs)
    # a product costs 2 FLOPs; the backward pass has two products for each one of the forward pass
    flops = 6 * sums.products * roles.rows * training.epochs * training.members
    values = _values(training, sums, roles, [shape["outputs"] for shape in shapes])
    cost = Cost(shapes, sums.parameters, values * number_bytes(training), flops)
    for figure, limit, unit in (
        (cost.parameters * training.members, limits.parameters, "parameters"),
        (cost.memory_bytes, limits.memory_bytes, "bytes of memory"),
    ):
        if figure > limit:
            raise SpecError("/network/layers", f"needs {figure} {unit}; the limit is {limit}")
    if cost.flops > limits.flops:
        raise SpecError(
            "/training/epochs", f"needs {cost.flops:.3g} floating point operations; the limit is {limits.flops:.3g}"
        )
    return cost


def _shapes(layers: Sequence[ResolvedLayer], inputs: int) -> tuple[list[dict[str, Any]], Sums]:
    shapes: list[dict[str, Any]] = []
    sums = Sums()
    for layer in layers:
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
    return shapes, sums


def _values(training: Training, sums: Sums, roles: Roles, units: Sequence[int]) -> int:
    """Return how many numbers a run holds at its peak. units: those of each layer, the output layer last."""
    outputs = units[-1]
    batch = min(training.batch_size, roles.rows)
    slots = len(OPTIMIZERS[training.optimizer.type].slot_names)
    # a forward pass outside training holds one layer's x, z and a; the figures of the layers need all activations
    measured = max(3 * EVALUATION_ROWS * max(units), DEAD_ROWS * sums.activations)
    # weights, gradient, a copy for a checkpoint, a copy for the figures of the layers, the optimizer's slots, the best
    # epoch's weights, and the accumulated gradient
    copies = 4 + slots + bool(training.early_stopping) + (training.accumulate > 1)
    of_members = training.members * (
        sums.parameters * copies + batch * sums.activations + measured + roles.rows * outputs
    )
    kept = _kept_values(training, sums, roles.inputs, batch, slots)
    return of_members + kept + 3 * roles.rows * (roles.inputs + outputs)


def _kept_values(training: Training, sums: Sums, inputs: int, batch: int, slots: int) -> int:
    """Return how many numbers the kept steps hold. Raises SpecError if they are too many."""
    # the weights before and after, gradient, update and slots; for each row x, targets, and at most z, a, dL/da, dL/dz
    # and one more
    of_step = sums.parameters * (4 + slots) + batch * (inputs + 2 * sums.activations)
    values = of_step * len(training.replay_steps)
    needed = values * number_bytes(training)
    if needed > REPLAY_BYTES:
        raise SpecError("/training/replay_steps", f"would keep {needed} bytes; the limit is {REPLAY_BYTES}")
    return values


def number_bytes(training: Training) -> int:
    """Return the size of one number of the run."""
    return 8 if training.precision == "float64" else 4
