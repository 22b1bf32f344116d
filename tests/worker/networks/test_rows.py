"""Rows, columns, arrays and tables are encoded alike; what lies outside the training's range draws a warning."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import spec_of
from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, NumericCode
from worker.data.encoding import NEAR_CATEGORIES, NEAR_LETTERS
from worker.data.fitting import fit_encoders
from worker.data.profiles import profile_table
from worker.data.readers import read_cells
from worker.data.roles import assign_roles
from worker.errors import DataError
from worker.networks.ranges import WARNINGS_LIMIT, Ranges
from worker.networks.rows import RowEncoder, check_encoded
from worker.settings import Limits

TABLE = pa.table(
    {
        "age": [20.0, None, 40.0, 30.5],
        "size": [1, 2, 3, 4],
        "city": ["Bonn", "Ulm", "Bonn", None],
        "label": ["a", "b", "a", "b"],
    }
)


def fitted(*features: str) -> Encoders:
    roles = assign_roles(spec_of(features=features), profile_table(TABLE, Limits()), Limits())
    return fit_encoders(TABLE, roles)


@pytest.mark.parametrize("features", [("age", "size"), ("age", "size", "city")])
def test_every_form_is_encoded_alike(features: tuple[str, ...]) -> None:
    """Lists, objects, columns, a table and an array of the same cells give the same matrix."""
    rows = RowEncoder(fitted(*features))
    columns = {name: TABLE[name].to_pylist() for name in features}
    lists = [list(row) for row in zip(*columns.values(), strict=True)]
    expected = rows.encode(lists).x
    np.testing.assert_array_equal(rows.encode_columns(dict(reversed(columns.items()))).x, expected)
    np.testing.assert_array_equal(rows.encode([dict(zip(features, row, strict=True)) for row in lists]).x, expected)
    np.testing.assert_allclose(rows.encode_table(TABLE).x, expected, rtol=1e-6)
    if "city" not in features:
        np.testing.assert_array_equal(rows.encode_array(np.array(lists, np.float64)).x, expected)


@pytest.mark.parametrize(
    ("columns", "said", "row", "column"),
    [
        ({"age": [1]}, "missing", None, "size"),
        ({"age": [1], "size": [1], "size ": [1]}, "two columns have this name", None, "size"),
        ({"age": [1, 2], "size": [1]}, "expected 2 cells, got 1", None, "size"),
        ({"age": [1, 2], "size": [1, "2b"]}, "must be a number, not '2b'", 1, "size"),
        ({"age": [1, True], "size": [1, 2]}, "must be a number", 1, "age"),
        ({"age": [1e300], "size": [1]}, "too large", 0, "age"),
    ],
)
def test_faulty_columns_are_named(columns: dict[str, Any], said: str, row: int | None, column: str) -> None:
    """An error in columns has the row and the column at fault."""
    with pytest.raises(DataError, match=said) as caught:
        RowEncoder(fitted("age", "size")).encode_columns(columns)
    assert (caught.value.row, caught.value.column) == (row, column)


def test_an_array_has_the_features() -> None:
    """An array needs a column for each feature, and finite numbers."""
    with pytest.raises(DataError, match="expected 2 columns, got 3"):
        RowEncoder(fitted("age", "size")).encode_array(np.zeros((1, 3)))
    with pytest.raises(DataError, match="too large"):
        RowEncoder(fitted("age", "size")).encode_array(np.array([[np.inf, 1]]))


def test_an_array_for_a_network_without_scales_is_not_copied() -> None:
    """An imported network takes numbers as they are; missing, large and other numbers are treated as in any other."""
    codes = tuple(NumericCode(name=name, median=7, mean=0, scale=1) for name in ("a", "b"))
    rows = RowEncoder(Encoders(features=codes, target=fitted("age").target))
    known = np.array([[1, 2], [3, 4]], np.float32)
    assert np.shares_memory(rows.encode_array(known).x, known)  # type: ignore[arg-type]
    known[0, 1] = np.nan
    np.testing.assert_array_equal(rows.encode_array(known).x, [[1, 7], [3, 4]])  # type: ignore[arg-type]
    assert rows.encode_array(np.array([[1, 2]])).x.dtype == np.float32
    with pytest.raises(DataError, match="too large"):
        rows.encode_array(np.array([[1e39, 1]]))


@pytest.mark.parametrize("features", [("age", "size"), ("age", "size", "city")])
def test_only_values_outside_the_training_range_draw_a_warning(features: tuple[str, ...]) -> None:
    """Neither the bounds, nor their float32 copies, nor missing cells or categories draw a warning."""
    rows = RowEncoder(fitted(*features))
    filled = [["Bonn"]] * (len(features) - 2)

    def warned(age: float | None, size: float | None) -> list[tuple[str, str]]:
        found = rows.encode([[age, size, *(cells[0] for cells in filled)]]).warnings
        assert found.total == len(found.first)
        return [(warning["column"], warning["detail"].split()[1]) for warning in found.first]

    assert warned(20, 4) == warned(None, None) == warned(float(np.float32(30.1)), 1) == []
    assert warned(19.9, 4.1) == [("age", "below"), ("size", "above")]
    assert warned(None, 0.9) == [("size", "below")]
    assert "is below 1, the smallest" in rows.encode([[20, 0, *("Bonn" for _ in filled)]]).warnings.first[0]["detail"]


def test_a_float32_copy_of_a_bound_is_not_outside() -> None:
    """Rounding to float32 moves a bound, but draws no warning."""
    bounds = np.array([5.1, 1e9 + 1, -0.3])
    codes = tuple(
        NumericCode(name=str(n), median=0, mean=0, scale=1, minimum=bound, maximum=bound)
        for n, bound in enumerate(bounds.tolist())
    )
    ranges = Ranges(Encoders(features=codes, target=fitted("age").target))
    assert ranges.of_values(bounds.astype(np.float32).astype(np.float64)[None]).total == 0
    assert ranges.of_values(bounds[None] * 1.001).total == 3


def test_nothing_is_special_about_small_units_or_large_offsets() -> None:
    """A minute more than was seen is outside, among milliseconds since 1970; so is 1e-13 among numbers of 1e-12."""
    times, small = 1.7e12 + np.arange(10) * 1000.0, np.arange(1, 11) * 1e-12
    table = pa.table({"time": times, "small": small, "tiny": np.arange(10) * 1e-200, "label": ["a", "b"] * 5})
    roles = assign_roles(spec_of(features=("time", "small", "tiny")), profile_table(table, Limits()), Limits())
    encoders = fit_encoders(table, roles)
    rows = RowEncoder(encoders, np.float64)
    x = rows.encode_table(table).x
    np.testing.assert_allclose(x.std(axis=0), 1)
    assert rows.encode([[times[-1] + 60_000, small[0] - 1e-13, 0]]).warnings.total == 2
    assert rows.encode([[times[-1], small[-1], 9e-200]]).warnings.total == 0


def test_all_are_counted_and_the_first_are_listed() -> None:
    """The total counts every value outside; only the first ones are listed."""
    found = RowEncoder(fitted("age", "size")).encode([[30, 9]] * 100).warnings
    assert (found.total, len(found.first)) == (100, WARNINGS_LIMIT)
    assert [warning["row"] for warning in found.first] == list(range(WARNINGS_LIMIT))


def test_weights_from_before_ranges_were_kept_load_and_warn_of_nothing() -> None:
    """Encoders without a minimum and a maximum still load; they draw no warnings."""
    document = fitted("age", "size").model_dump(mode="json")
    for code in document["features"]:
        del code["minimum"], code["maximum"]
    rows = RowEncoder(Encoders.model_validate(document))
    assert rows.encode([[1e6, -1e6]]).warnings.total == 0
    assert rows.encode_table(pa.table({"age": [1e6], "size": [-5]})).warnings.total == 0


def test_a_column_without_a_value_has_no_range() -> None:
    """Where training saw no number there is no smallest and no largest one."""
    table = pa.table({"x": pa.array([None, None], pa.float64()), "label": ["a", "b"]})
    roles = assign_roles(spec_of(features=("x",)), profile_table(table, Limits()), Limits())
    (code,) = fit_encoders(table, roles).features
    assert isinstance(code, NumericCode)
    assert (code.minimum, code.maximum) == (None, None)


ENCODERS = Encoders(
    features=(
        NumericCode(name="size", median=0, mean=1, scale=2),
        CategoricalCode(name="city", categories=("a", "b", "c"), missing=False, most_frequent="a"),
        CategoricalCode(name="colour", categories=("x", "y"), missing=True, most_frequent="x", embedded=True),
    ),
    target=ClassTarget(name="kind", classes=("n", "m")),
)
FLOAT = np.dtype(np.float32)


def row(**changes: float) -> np.ndarray:
    """Return a row: a number, three indicators, and the number of a colour, which is 3 for one never seen."""
    return np.array([[changes.get("size", 0.5), 1, 0, 0, changes.get("colour", 3)]])


def test_numbers_of_the_networks_type_are_not_copied() -> None:
    """Encoded rows in the network's precision are used as they are; others are converted; no rows are no error."""
    values = row().astype(FLOAT)
    assert np.shares_memory(check_encoded(values, ENCODERS, FLOAT).x, values)
    assert check_encoded(row(), ENCODERS, FLOAT).x.dtype == FLOAT
    assert check_encoded(np.empty((0, 5)), ENCODERS, FLOAT).x.shape == (0, 5)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_every_category_and_the_one_never_seen_is_taken(number: int) -> None:
    """An embedded column takes the number of each category, of a missing cell, and of a category never seen."""
    assert check_encoded(row(colour=number), ENCODERS, FLOAT).x[0, 4] == number


@pytest.mark.parametrize(
    ("changes", "column", "said"),
    [
        ({"colour": 4}, "colour", "from 0 to 3"),
        ({"colour": -1}, "colour", "from 0 to 3"),
        ({"colour": 0.5}, "colour", "from 0 to 3"),
        ({"size": np.nan}, None, "not finite at position 0"),
        ({"size": 1e39}, None, "not finite at position 0"),
    ],
)
def test_what_the_network_cannot_take_is_refused_by_row(
    changes: dict[str, float], column: str | None, said: str
) -> None:
    """A number that is no category, or not finite, is refused with its row."""
    values = np.concatenate([row(), row(**changes)])
    with pytest.raises(DataError, match=said) as raised:
        check_encoded(values, ENCODERS, FLOAT)
    assert (raised.value.row, raised.value.column) == (1, column)


def test_an_older_networks_categories_are_found_as_they_were_on_every_path() -> None:
    """They were not cleaned: None was a category, and True another than true. Other spellings are found too."""
    code = CategoricalCode(name="c", categories=("None", "True", " x", "true"), missing=False, most_frequent="True")
    rows = RowEncoder(Encoders(features=(code,), target=fitted("age").target))
    for cell, number in (("None", 0), ("True", 1), (" x", 2), ("true", 3), ("x", 2), ("TRUE", 3), ("", 1), ("NA", 1)):
        wanted = np.eye(4, dtype=np.float32)[[number]]
        np.testing.assert_array_equal(rows.encode([[cell]]).x, wanted)
        np.testing.assert_array_equal(rows.encode_table(pa.table({"c": [cell]})).x, wanted)
        text = f'"c","d"\n"{cell}","y"\n'.encode()
        asked = read_cells(text, Limits(), cells_limit=1000)
        np.testing.assert_array_equal(rows.encode_table(asked).x, wanted)
    named = Encoders(features=(NumericCode(name=" a", median=0, mean=0, scale=1),), target=fitted("age").target)
    for row in ({" a": 2}, {"a": 2}, {"a": 2, "b": 3}):
        np.testing.assert_array_equal(RowEncoder(named).encode([row]).x, [[2]])


def test_the_nearest_category_is_looked_for_once_and_among_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction of few rows is made in the event loop: among 1,000 long categories each look took 0.7 s."""
    looked: list[tuple[int, int]] = []

    def close(word: str, known: dict[str, str], _count: int) -> list[str]:
        looked.append((len(known), max(map(len, [word, *known]))))
        return []

    monkeypatch.setattr("worker.data.encoding.difflib.get_close_matches", close)
    categories = tuple(f"{n:04}" + "x" * 60 for n in range(1000))
    code = CategoricalCode(name="c", categories=categories, missing=False, most_frequent=None, unknown="pool")
    rows = RowEncoder(Encoders(features=(code,), target=fitted("age").target))
    assert rows.encode([["y" * 64 + str(n)] for n in range(30)]).warnings.total == 30
    assert looked == [(NEAR_CATEGORIES, NEAR_LETTERS)]
