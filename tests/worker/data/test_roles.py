"""Which columns are learned from, and the pointers of what does not fit."""

import pyarrow as pa
import pytest

from tests.conftest import spec_of
from worker.build import estimate_cost, resolve_layers
from worker.data.profiles import profile_table
from worker.data.roles import Roles, assign_roles
from worker.errors import SpecError
from worker.settings import Limits

TABLE = pa.table(
    {
        "id": [f"row {n}" for n in range(30)],
        "x": [float(n) + 0.5 for n in range(30)],
        "kind": ["a", "b", None] * 10,
        "grade": [1, 2, 3] * 10,
        "one": ["same"] * 30,
        "holes": [1.0, None] * 15,
        "label": ["no", "yes"] * 15,
    }
)
LIMITS = Limits(categories=20, parameters=10_000, memory_bytes=10**7, flops=1e9)
PROFILE = profile_table(TABLE, LIMITS)


def roles_of(**changes: object) -> Roles:
    changes = {"columns": {"id": {"type": "ignore"}}} | changes
    return assign_roles(spec_of(**changes), PROFILE, LIMITS)


def test_features_default_to_every_other_column() -> None:
    roles = roles_of()
    assert [(feature.name, feature.type, feature.width) for feature in roles.features] == [
        ("x", "numeric", 1),
        ("kind", "categorical", 3),
        ("grade", "numeric", 1),
        ("one", "categorical", 1),
        ("holes", "numeric", 1),
    ]
    assert (roles.inputs, roles.outputs, roles.classes) == (7, 2, ("no", "yes"))


def test_the_target_decides_the_kind_of_network() -> None:
    """Numbers: a regression with as many outputs as targets; declared a category: one output a class."""
    assert (roles_of(target="grade").classes, roles_of(target="grade").outputs) == (None, 1)
    assert roles_of(target=("x", "grade")).outputs == 2
    declared = {"grade": {"type": "categorical"}, "id": {"type": "ignore"}}
    assert roles_of(target="grade", columns=declared).classes == ("1", "2", "3")


@pytest.mark.parametrize(
    ("changes", "pointer", "said"),
    [
        ({"target": "nothing"}, "/target", "no such column"),
        ({"target": "one"}, "/target", "one class only"),
        ({"target": "holes"}, "/target", "15 missing cells"),
        ({"target": ("x", "label")}, "/target/1", "must all be numeric"),
        ({"target": ("x", "x")}, "/target/1", "listed twice"),
        ({"features": ("x", "label")}, "/features/1", "is the target"),
        ({"features": ("x", "nothing")}, "/features/1", "no such column"),
        ({"features": ("x", "x")}, "/features/1", "listed twice"),
        ({"features": ("id",)}, "/features", "no column is left"),
        ({"columns": {}}, "/columns/id", "30 distinct values"),
        ({"columns": {"id": {"type": "numeric"}}}, "/columns/id", "has text in it"),
        ({"columns": {"a/b~c": {"type": "ignore"}}}, "/columns/a~1b~0c", "no such column"),
        ({"columns": {"id": {"type": "ignore"}, "x": {"type": "categorical"}}}, "/columns/x", "none with a fraction"),
        ({"columns": {"label": {"type": "ignore"}, "id": {"type": "ignore"}}}, "/columns/label", "can't be ignored"),
    ],
)
def test_what_does_not_fit_is_named_by_its_pointer(changes: dict[str, object], pointer: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        roles_of(**changes)
    assert caught.value.pointer == pointer


def test_the_output_layer_follows_from_the_target() -> None:
    spec = spec_of(network={"layers": [{"type": "dense", "units": 4}, {"type": "dropout", "rate": 0.5}]})
    layers = [layer.model_dump() for layer in resolve_layers(spec, roles_of())]
    assert layers == [
        {"type": "dense", "units": 4, "activation": "relu", "initializer": "he_normal"},
        {"type": "dropout", "rate": 0.5},
        {"type": "dense", "units": 2, "activation": "softmax", "initializer": "glorot_uniform"},
    ]


def test_cost_is_the_sum_worked_by_hand() -> None:
    """7 inputs -> 4 -> 2: 7 x 4 + 4 + 4 x 2 + 2 = 42 parameters; 6 FLOPs each a row and an epoch."""
    spec = spec_of(network={"layers": [{"type": "dense", "units": 4}]}, training={"epochs": 10})
    cost = estimate_cost(spec, roles_of(), LIMITS)
    assert cost.parameters == 42
    assert cost.flops == 6 * 42 * 30 * 10
    assert [shape["parameters"] for shape in cost.layers] == [32, 10]


@pytest.mark.parametrize(
    ("layers", "training", "pointer", "said"),
    [
        ([{"type": "dense", "units": 65_536}] * 200, {}, "/network/layers", "parameters; the limit is 10000"),
        ([], {"epochs": 1_000_000, "batch_size": 1}, "/training/epochs", "floating point operations"),
        ([{"type": "dense", "units": 1000}], {"batch_size": 30}, "/network/layers", "limit"),
        ([], {"loss": "cross_entropy"}, "/training/loss", "needs a category"),
    ],
)
def test_a_job_past_a_limit_is_refused_with_the_figure(
    layers: list[object], training: dict[str, object], pointer: str, said: str
) -> None:
    target = "x" if training.get("loss") else "label"
    spec = spec_of(network={"layers": layers}, training=training, target=target)
    with pytest.raises(SpecError, match=said) as caught:
        estimate_cost(spec, roles_of(target=target), LIMITS)
    assert caught.value.pointer == pointer
