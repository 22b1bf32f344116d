"""Every word of the specification against the table that implements it: a word without its record fails here."""

from collections.abc import Iterator
from math import prod
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from pydantic import BaseModel

from worker.backprop.activation_base import Activation
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.losses.objective import Objective
from worker.backprop.losses.table import LOSSES
from worker.backprop.metrics import METRICS
from worker.backprop.optimizers import OPTIMIZERS
from worker.intake.cost import Sums
from worker.networks.layers import build_network
from worker.networks.task import LOSS
from worker.networks.training import make_optimizer, make_plan, make_schedule
from worker.specs import losses, network, optimizers, schedules, training

INPUTS = 3
LAYERS: dict[str, dict[str, Any]] = {
    "dense": {"units": 2},
    "dropout": {"rate": 0.5},
    "batch_norm": {},
    "layer_norm": {},
    "residual": {"layers": [{"type": "dense", "units": INPUTS}, {"type": "batch_norm"}]},
    "embedding": {"column": "kind", "dimensions": 2, "position": 1, "categories": 4},
}


def words(annotation: Any) -> set[str]:
    """Return every word of a Literal, or of a union of them."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {word for part in get_args(annotation) for word in words(part)}


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the specification classes of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def types(annotation: Any) -> set[str]:
    """Return the `type` words of a union of specification classes."""
    return {word for model in models(annotation) for word in words(model.model_fields["type"].annotation)}


def declared(kind: type[Any]) -> set[str]:
    """Return the class variables that a base declares."""
    return set(kind.__annotations__)


def spec_of(annotation: Any, name: str, **numbers: Any) -> Any:
    """Return a specification of this type, with defaults for what is not given."""
    model = next(model for model in models(annotation) if name in words(model.model_fields["type"].annotation))
    return model.model_validate({"type": name} | numbers)


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        (words(network.ResolvedDense.model_fields["activation"].annotation), ACTIVATIONS),
        (words(network.Initializer) - {"auto"}, INITIALIZERS),
        (words(losses.LossName) - {"auto"}, LOSSES),
        (types(losses.LossWithNumbers), LOSSES),
        (words(training.Metric), METRICS),
        (types(optimizers.Optimizer), OPTIMIZERS),
        (types(network.Layer), LAYERS),
        (types(network.ResolvedLayer), LAYERS),
    ],
)
def test_every_word_has_its_record(asked: set[str], known: dict[str, Any]) -> None:
    """The words of the specification are the names of the table, no more and no fewer."""
    assert asked == set(known)


def test_an_activation_that_can_be_asked_for_can_be_built() -> None:
    """The words of a client are among those of resolved layers, which have one more for Poisson's loss."""
    resolved = words(network.ResolvedDense.model_fields["activation"].annotation)
    assert resolved - words(network.Activation) == {LOSSES["poisson"].output}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_says_all_that_is_asked_of_it(name: str) -> None:
    """No attribute that the base only names is missing, and the initialiser of `auto` exists."""
    activation = ACTIVATIONS[name]
    assert activation.name == name
    assert [one for one in declared(Activation) if not hasattr(activation, one)] == []
    assert activation.initializer in INITIALIZERS


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_says_all_that_is_asked_of_it_and_takes_its_numbers(name: str) -> None:
    """No attribute that the base only names is missing, and the numbers of its specification build it."""
    loss, spec = LOSSES[name], LOSS.validate_python({"type": name})
    assert [one for one in declared(Objective) if not hasattr(loss, one)] == []
    objective = loss.of(ACTIVATIONS[loss.output or "identity"], spec.model_dump())
    assert loss.output is None or objective.activation.name == loss.output


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_without_bounds_takes_every_number(name: str) -> None:
    """Standardised targets have both signs, so a loss that some numbers break has bounds and takes them as they are."""
    loss = LOSSES[name]
    if loss.columns_kind is None:
        return
    if loss.bounds is not None:
        assert not loss.standardises
        return
    objective = loss.of(ACTIVATIONS[loss.output or "identity"], LOSS.validate_python({"type": name}).model_dump())
    assert np.isfinite(objective.losses(np.zeros((1, 3)), np.array([[-2.0], [0.0], [2.0]]))).all()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_takes_its_numbers_and_has_the_slots_that_it_says(name: str) -> None:
    """Built from its specification, it steps; the cost of a job counts the slots that are named."""
    numbers = {"momentum": 0.9} if name == "sgd" else {}
    spec = spec_of(optimizers.Optimizer, name, **numbers)
    w, gradient = np.ones(3), np.full(3, 0.5)
    optimizer = make_optimizer(spec)(w, gradient)
    expected = list(optimizer.lines(1.0, 0.5, 0.1))[-1]
    optimizer.step(0.1)
    assert (expected.name, expected.value) == ("w", pytest.approx(w[0]))
    assert tuple(optimizer.slots) == OPTIMIZERS[name].slot_names
    plan = make_plan(training.Training(optimizer=spec))
    assert plan.decay == getattr(spec, "weight_decay", 0.0)


@pytest.mark.parametrize("name", sorted(types(schedules.Schedule)))
def test_every_schedule_is_built(name: str) -> None:
    """Each gives a factor to every step of an epoch."""
    assert len(make_schedule(spec_of(schedules.Schedule, name), 10).factors(0, 7)) == 7


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_layers_cost_counts_the_numbers_that_are_trained(name: str) -> None:
    """The arithmetic before anything is allocated gives the units and the parameters of the layer that is built."""
    hidden = spec_of(network.ResolvedLayer, name, **LAYERS[name])
    probe = network.ResolvedDense(type="dense", units=1, initializer="zeros")
    layer = build_network([hidden, probe], INPUTS).layers[0]
    sums = Sums()
    assert sums.add(hidden, INPUTS) == layer.units
    assert sums.parameters == sum(prod(shape) for array, shape in layer.shapes.items() if array not in layer.running)


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_is_built_and_says_what_its_arrays_are(name: str) -> None:
    """What is penalised or running is an array of the layer, and nothing is both; a block's own layers say the same."""
    hidden = spec_of(network.ResolvedLayer, name, **LAYERS[name])
    probe = network.ResolvedDense(type="dense", units=1, initializer="zeros")
    units = {"dense": 2, "embedding": INPUTS + 1}.get(name, INPUTS)
    layer = build_network([hidden, probe], INPUTS).layers[0]
    assert (layer.inputs, layer.units) == (INPUTS, units)
    penalised, running = set(layer.penalised), set(layer.running)
    assert penalised | running <= set(layer.shapes)
    assert not penalised & running
    for n, inner in enumerate(layer.layers):
        assert {f"layers.{n}.{array}" for array in inner.penalised} <= penalised
        assert {f"layers.{n}.{array}" for array in inner.running} <= running
