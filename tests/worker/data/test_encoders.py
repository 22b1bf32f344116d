"""Encoders are fitted on the training part only, agree with scikit-learn's, and take rows and tables alike."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.conftest import spec_of
from worker.data.encoders import (
    CategoricalCode,
    ClassTarget,
    Encoders,
    NumberTarget,
    encode_targets,
)
from worker.data.encoding import encode_table
from worker.data.fitting import fit_encoders
from worker.data.profiles import profile_table
from worker.data.roles import assign_roles
from worker.errors import DataError
from worker.networks.rows import RowEncoder
from worker.settings import Limits

TABLE = pa.table(
    {
        "age": [20, None, 40, 30, 31],
        "city": ["Bonn", "Ulm", None, "Bonn", "Kiel"],
        "same": [3.5] * 5,
        "label": ["yes", "no", "yes", "no", "yes"],
        "price": [1.0, 2.0, 4.0, 8.0, 16.0],
    }
)


def fitted(rows: list[int] | None = None, **changes: object) -> Encoders:
    changes.setdefault("features", ("age", "city", "same"))
    roles = assign_roles(spec_of(**changes), profile_table(TABLE, Limits()), Limits())
    return fit_encoders(TABLE if rows is None else TABLE.take(rows), roles)


def test_columns_are_imputed_and_scaled_as_scikit_learn_does() -> None:
    """Numbers are imputed with the median and standardised; each category, and a missing cell, has an indicator."""
    x = encode_table(TABLE, fitted())
    age = SimpleImputer(strategy="median").fit_transform(np.array([[20, np.nan, 40, 30, 31]]).T)
    city = OneHotEncoder(sparse_output=False).fit_transform(np.array([["Bonn", "Ulm", "~", "Bonn", "Kiel"]]).T)
    expected = np.hstack([StandardScaler().fit_transform(age), city[:, [0, 1, 2, 3]], np.zeros((5, 1))])
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_encoders_see_the_training_part_only() -> None:
    """Mean, scale and categories are those of the given rows; a category that only others have is pooled for them."""
    encoders = fitted([0, 3])
    age, city = encoders.features[:2]
    assert (age.mean, age.scale) == (25.0, 5.0)  # type: ignore[union-attr]
    assert isinstance(city, CategoricalCode)
    assert (city.categories, city.missing) == (("Bonn",), False)
    x = encode_table(TABLE, encoders, pool_unknown=True)
    # Ulm and Kiel are nobody's indicator; the missing cell counts as the most frequent category
    np.testing.assert_array_equal(x[:, 1], [1, 0, 1, 1, 0])


def test_an_unknown_category_is_refused_unless_its_column_pools() -> None:
    """By default an unknown category is none of the known ones; where the column refuses it, the row is named."""
    encoders = fitted([0, 3], columns={"city": {"type": "categorical", "unknown": "refuse"}})
    with pytest.raises(DataError, match="never saw") as caught:
        encode_table(TABLE, encoders)
    assert (caught.value.row, caught.value.column) == (1, "city")
    assert encode_table(TABLE, fitted([0, 3]))[1, 1] == 0


def test_targets_become_labels_or_standard_scores() -> None:
    """Classes are in order of their text; numbers are standardised, so that a unit does not set the learning rate."""
    encoders = fitted()
    assert isinstance(encoders.target, ClassTarget)
    assert encoders.target.classes == ("no", "yes")
    np.testing.assert_array_equal(encode_targets(TABLE, encoders.target), [1, 0, 1, 0, 1])
    numbers = fitted(target="price")
    assert isinstance(numbers.target, NumberTarget)
    y = encode_targets(TABLE, numbers.target)
    np.testing.assert_allclose(
        y[:, 0], StandardScaler().fit_transform(np.array([[1.0, 2, 4, 8, 16]]).T)[:, 0], rtol=1e-6
    )


@pytest.mark.parametrize("names", [("age", "city", "same"), ("age", "price", "same")])
def test_rows_are_encoded_as_the_same_rows_of_a_table(names: tuple[str, ...]) -> None:
    """Rows by name in any order, or by position, give the table's matrix, also with encoders from JSON."""
    encoders = Encoders.model_validate_json(fitted(features=names).model_dump_json())
    rows = RowEncoder(encoders)
    expected = encode_table(TABLE, encoders)
    by_position = [list(row) for row in zip(*(TABLE[name].to_pylist() for name in names), strict=True)]
    np.testing.assert_array_equal(rows.encode(by_position).x, expected)
    by_name = [dict(zip(reversed(names), reversed(row), strict=True)) for row in by_position]
    np.testing.assert_array_equal(rows.encode(by_name).x, expected)


@pytest.mark.parametrize(
    ("features", "row", "said", "column"),
    [
        (("age", "same"), {"age": 1}, "missing", "same"),
        (("age", "same"), {"age": 1, "same": 2, " age": 3}, "two columns have this name", "age"),
        (("age", "same"), {"age": 1, "other": 3}, "missing", "same"),
        (("age", "same"), [1], "expected 2 cells, got 1", None),
        (("age", "same"), [1, True], "must be a number", "same"),
        (("age", "same"), [1, "2,5"], "must be a number, not '2,5'", "same"),
        (("age", "same"), [10**400, 2], "too large", "age"),
        (("age", "same"), [1e40, 2], "too large for the network.s precision", "age"),
        (("age", "city"), [1, "Bon"], "'Bon' is a category that training never saw; the nearest .* 'Bonn'", "city"),
        (("age", "city"), ["x", "Bonn"], "must be a number", "age"),
        (("age", "city"), [1, ["Bonn"]], "must be text", "city"),
        (("age", "city"), [10**400, "Bonn"], "too large", "age"),
    ],
)
def test_a_bad_row_is_refused_with_row_and_column(
    features: tuple[str, ...], row: object, said: str, column: str | None
) -> None:
    """An error in a row has the row's number and the column's name."""
    rows = RowEncoder(fitted(features=features, columns={"city": {"type": "categorical", "unknown": "refuse"}}))
    good = [30, 3.5] if "same" in features else [30, "Bonn"]
    with pytest.raises(DataError, match=said) as caught:
        rows.encode([good, row])  # type: ignore[list-item]
    assert (caught.value.row, caught.value.column) == (1, column)


@pytest.mark.parametrize("column", ["x", "label"])
def test_a_spread_whose_variance_is_no_number_is_refused(column: str) -> None:
    """A feature or a target whose squares overflow can't be standardised."""
    table = pa.table({"x": [1.5, 2.5, 3.5, 4.5], "label": [1.5, 2.5, 3.5, 4.5]} | {column: [-1e160, 1e160, 2e160, 0.5]})
    roles = assign_roles(spec_of(), profile_table(table, Limits()), Limits())
    with pytest.raises(DataError, match="use another unit") as caught:
        fit_encoders(table, roles)
    assert caught.value.column == column


def test_a_long_table_is_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts make the same matrix, and an error has the row of the whole table."""
    encoders = fitted(columns={"city": {"type": "categorical", "unknown": "refuse"}})
    whole = encode_table(TABLE, encoders)
    monkeypatch.setattr("worker.data.encoding.ROWS_AT_ONCE", 2)
    np.testing.assert_array_equal(encode_table(TABLE, encoders), whole)
    place = TABLE.column_names.index("city")
    cells = [*TABLE["city"].to_pylist()[:3], "nowhere", *TABLE["city"].to_pylist()[4:]]
    with pytest.raises(DataError, match="'nowhere' is a category") as caught:
        encode_table(TABLE.set_column(place, "city", pa.array(cells)), encoders)
    assert (caught.value.row, caught.value.column) == (3, "city")


def test_a_class_is_found_however_it_is_written() -> None:
    """As a category is; the classes of older networks were not cleaned."""
    for classes in (("false", "true"), ("False", "True")):
        target = ClassTarget(name="y", classes=classes)
        for cells in (["True", "FALSE"], [True, False], [" true", "false "]):
            np.testing.assert_array_equal(encode_targets(pa.table({"y": cells}), target), [1, 0])
    with pytest.raises(DataError, match="never saw") as caught:
        encode_targets(pa.table({"y": ["true", None]}), target)
    assert caught.value.row == 1
