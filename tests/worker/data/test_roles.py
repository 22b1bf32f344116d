"""Columns get their roles; what does not fit is refused with a pointer."""

import pyarrow as pa
import pytest

from tests.conftest import spec_of
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
LIMITS = Limits(categories=20)
PROFILE = profile_table(TABLE, LIMITS)


def roles_of(**changes: object) -> Roles:
    changes = {"columns": {"id": {"type": "ignore"}}} | changes
    return assign_roles(spec_of(**changes), PROFILE, LIMITS)


def test_features_default_to_every_other_column() -> None:
    """Without a list, every column but the target and the ignored ones is a feature."""
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
    """Numeric targets have one output each; a column that is declared a category has one output for each class."""
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
        ({"weight": "nothing"}, "/weight", "no such column"),
        ({"weight": "label"}, "/weight", "is the target"),
        ({"weight": "holes"}, "/weight", "no missing cells"),
        ({"weight": "kind"}, "/weight", "numeric column"),
        ({"weight": "x", "features": ("x", "grade")}, "/features/0", "is the weight"),
    ],
)
def test_what_does_not_fit_is_named_by_its_pointer(changes: dict[str, object], pointer: str, said: str) -> None:
    """The error points at the member of the specification that does not fit the table."""
    with pytest.raises(SpecError, match=said) as caught:
        roles_of(**changes)
    assert caught.value.pointer == pointer


def test_the_weight_column_is_no_feature() -> None:
    """A column that weighs the rows is not learned from."""
    roles = roles_of(weight="x")
    assert roles.weight == "x"
    assert "x" not in [feature.name for feature in roles.features]


def test_an_embedded_category_is_one_input() -> None:
    """The category's number replaces its indicators; a missing cell counts as a category."""
    embedding = {"type": "embedding", "column": "kind", "dimensions": 2}
    roles = roles_of(network={"layers": [embedding]}, features=("x", "kind"))
    assert [(column.name, column.width, column.categories) for column in roles.columns] == [
        ("x", 1, None),
        ("kind", 1, 3),
    ]
