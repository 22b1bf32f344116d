"""Layers with nothing left open, and what a job would take."""

from typing import Any

import pytest

from tests.worker.networks.conftest import LIMITS, job, roles_of
from worker.data.splits import part_rows
from worker.errors import SpecError
from worker.intake.cost import Cost, estimate_cost
from worker.networks.layers import LAYERS, build_network, resolve_layers
from worker.networks.task import resolve_task
from worker.networks.training import check_training
from worker.specs.job import Job

EVERY = [
    {"type": "embedding", "column": "kind", "dimensions": 3},
    {"type": "dense", "units": 5, "activation": "identity"},
    {"type": "batch_norm", "activation": "silu"},
    {
        "type": "residual",
        "layers": [{"type": "dense", "units": 4, "activation": "selu"}, {"type": "dense", "units": 5}],
    },
    {"type": "layer_norm"},
    {"type": "dropout", "rate": 0.5},
]


def resolved(layers: list[Any], **changes: Any) -> list[dict[str, Any]]:
    spec = job(layers=layers, **changes)
    roles = roles_of(spec)
    return LAYERS.dump_python(resolve_layers(spec, resolve_task(spec, roles), roles.columns))


def test_nothing_is_left_open() -> None:
    """The embedding knows its input, auto initialisers are named, and the output layer follows from the target."""
    embedding, dense, batch_norm, residual, layer_norm, dropout, output = resolved(EVERY)
    assert (embedding["position"], embedding["categories"]) == (1, 4)
    assert (dense["initializer"], batch_norm["activation"]) == ("glorot_uniform", "silu")
    assert [inner["initializer"] for inner in residual["layers"]] == ["lecun_normal", "he_normal"]
    assert (layer_norm["type"], dropout["rate"]) == ("layer_norm", 0.5)
    assert output == {"type": "dense", "units": 2, "activation": "softmax", "initializer": "glorot_uniform"}


def test_a_second_embedding_finds_its_column_behind_the_first() -> None:
    """x, kind, grade: without kind, grade stands second, and kind's point behind it."""
    first, second, *_ = resolved([EVERY[0], {"type": "embedding", "column": "grade"}])
    assert (first["position"], second["position"], second["categories"]) == (1, 1, 3)


def test_resolved_layers_build_the_network_again() -> None:
    """From their JSON, as a predictor does it."""
    layers = LAYERS.validate_python(resolved(EVERY))
    spec = job(layers=EVERY)
    network = build_network(layers, roles_of(spec).inputs)
    # x, grade's three indicators, and the point of three numbers
    assert [layer.units for layer in network.layers] == [7, 5, 5, 5, 5, 5, 2]


@pytest.mark.parametrize(
    ("layers", "pointer", "said"),
    [
        ([{"type": "embedding", "column": "x"}], "/network/layers/0/column", "must be a categorical feature"),
        ([{"type": "embedding", "column": "none"}], "/network/layers/0/column", "must be a categorical feature"),
        ([EVERY[0], EVERY[0]], "/network/layers/1/column", "has an embedding already"),
        ([EVERY[1], EVERY[0]], "/network/layers/0", "must come after the embeddings"),
        (
            [{"type": "residual", "layers": [{"type": "dense", "units": 3}]}],
            "/network/layers/0/layers/0",
            "ends the block with 3 units; 8 enter it",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named_by_their_pointer(layers: list[Any], pointer: str, said: str) -> None:
    """Layers that do not fit together are refused with a pointer to the layer at fault."""
    with pytest.raises(SpecError, match=said) as caught:
        resolved(layers)
    assert caught.value.pointer == pointer


def cost_of(spec: Job) -> Cost:
    roles = roles_of(spec)
    layers = resolve_layers(spec, resolve_task(spec, roles), roles.columns)
    check_training(spec)
    return estimate_cost(spec.training, layers, roles, LIMITS)


def test_cost_is_the_sum_worked_by_hand() -> None:
    """8 inputs -> 4 -> 2: 8 x 4 + 4 + 4 x 2 + 2 = 46 parameters; 6 FLOPs each a row and an epoch."""
    spec = job({"epochs": 10})
    cost = cost_of(spec)
    assert cost.parameters == 46
    assert cost.flops == 6 * 46 * 60 * 10
    assert [shape["parameters"] for shape in cost.layers] == [36, 10]


def test_cost_counts_what_the_network_has() -> None:
    """All but the running statistics of batch_norm, of which nothing is learned."""
    spec = job(layers=EVERY)
    roles = roles_of(spec)
    cost = cost_of(spec)
    network = build_network(resolve_layers(spec, resolve_task(spec, roles), roles.columns), roles.inputs)
    assert cost.parameters == network.parameters().flat.size - 2 * 5
    assert [shape["outputs"] for shape in cost.layers] == [layer.units for layer in network.layers]


def test_an_ensemble_and_float64_take_their_multiples() -> None:
    """An ensemble multiplies the FLOPs by its members, and float64 doubles the memory."""
    one, eight = job(), job({"ensemble": 8})
    single, stack = (cost_of(spec) for spec in (one, eight))
    assert stack.flops == 8 * single.flops
    assert stack.memory_bytes > 3 * single.memory_bytes
    double = job({"precision": "float64"})
    assert cost_of(double).memory_bytes == 2 * single.memory_bytes


@pytest.mark.parametrize(
    ("layers", "training", "pointer", "said"),
    [
        ([{"type": "dense", "units": 65_536}] * 200, {}, "/network/layers", "parameters; the limit is 10000"),
        ([{"type": "dense", "units": 200}], {"ensemble": 64}, "/network/layers", "parameters; the limit is 10000"),
        ([], {"epochs": 1_000_000, "batch_size": 1}, "/training/epochs", "floating point operations"),
        ([EVERY[2]], {"batch_size": 1}, "/network/layers/0", "needs a batch_size of 2"),
        (
            [],
            {"optimizer": {"type": "sgd", "nesterov": True}},
            "/training/optimizer/nesterov",
            "the momentum, which is 0",
        ),
        ([], {"schedule": {"type": "cosine", "warmup_epochs": 5}}, "/training/schedule/warmup_epochs", "the 5 epochs"),
    ],
)
def test_a_job_past_a_limit_is_refused_with_the_figure(
    layers: list[object], training: dict[str, object], pointer: str, said: str
) -> None:
    """A job that needs more than a limit is refused with the figure and the limit."""
    spec = job(training, layers)
    with pytest.raises(SpecError, match=said) as caught:
        cost_of(spec)
    assert caught.value.pointer == pointer


def test_a_part_of_no_rows_is_refused() -> None:
    """A fraction so small that its part would have no row is refused, except in a table too small to validate."""
    for name in ("validation", "test"):
        with pytest.raises(SpecError, match=r"0\.001 of 60 rows is less than one row") as caught:
            part_rows(job({name: {"fraction": 0.001}}).training, 60)
        assert caught.value.pointer == f"/training/{name}/fraction"
    assert part_rows(job().training, 4) == {"train": 4, "validation": 0, "test": 0}


def test_memory_counts_the_rows_that_are_measured_at_once() -> None:
    """A batch of 2 rows of 2,000 units is little; the 512 rows that pass outside training are not."""
    spec = job({"batch_size": 2}, [{"type": "dense", "units": 2000}], features=("x",))
    with pytest.raises(SpecError, match="bytes of memory; the limit is 10000000"):
        cost_of(spec)
