"""Each way to encode a column agrees with scikit-learn's, whatever the numbers; and one row with the whole table."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn import preprocessing
from sklearn.impute import MissingIndicator, SimpleImputer

from tests.conftest import spec_of
from worker.data.encoders import CategoricalCode, Encoders, NumericCode
from worker.data.encoding import encode_table
from worker.data.fitting import fit_encoders
from worker.data.profiles import profile_table
from worker.data.roles import Roles, assign_roles
from worker.errors import SpecError
from worker.networks.file_checks import _numbers_fit
from worker.networks.rows import RowEncoder
from worker.settings import Limits

GENERATOR = np.random.default_rng(0)
COLUMNS = {
    "normal": GENERATOR.normal(20, 3, 300),
    "heavy": GENERATOR.standard_cauchy(300),
    "tiny": GENERATOR.exponential(1e-12, 300),
    "amounts": 10 ** GENERATOR.uniform(-3, 9, 300),
    "since": 1.7e12 + GENERATOR.integers(0, 10**9, 300).astype(float),
    "gaps": np.where(GENERATOR.random(300) < 0.2, np.nan, GENERATOR.normal(0, 1, 300)),
}
ORACLES: dict[str, Any] = {
    "standard": preprocessing.StandardScaler(),
    "minmax": preprocessing.MinMaxScaler(),
    "robust": preprocessing.RobustScaler(),
    "quantile": preprocessing.QuantileTransformer(n_quantiles=101, subsample=None),
    "none": preprocessing.FunctionTransformer(),
}


def roles_of(table: pa.Table, **changes: Any) -> Roles:
    return assign_roles(spec_of(**{"features": ["x"]} | changes), profile_table(table, Limits()), Limits())


def fitted(table: pa.Table, **changes: Any) -> Encoders:
    return fit_encoders(table, roles_of(table, **changes))


def table_of(values: NDArray[Any] | list[Any]) -> pa.Table:
    return pa.table({"x": pa.array(values, from_pandas=True), "label": ["a", "b"] * (len(values) // 2)})


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("scale", ORACLES)
@pytest.mark.parametrize("log", [False, True])
def test_numbers_are_scaled_as_scikit_learn_does(name: str, scale: str, log: bool) -> None:
    values = SimpleImputer(strategy="median").fit_transform(COLUMNS[name][:, None])
    taken = np.sign(values) * np.log1p(np.abs(values)) if log else values
    encoders = fitted(table_of(COLUMNS[name]), encoding={"numbers": {"scale": scale, "log": log}})
    x = encode_table(table_of(COLUMNS[name]), encoders, dtype=np.float64)
    # equal quantiles, as imputed cells have, are one for us and several for scikit-learn
    tolerance = 0.11 if (scale, name) == ("quantile", "gaps") else 1e-9
    np.testing.assert_allclose(x, ORACLES[scale].fit_transform(taken), rtol=tolerance, atol=tolerance)


def test_an_outlier_is_clipped_smoothly() -> None:
    """Numbers near 0 stay as they are, and the largest float is 3."""
    values = [*np.linspace(-1, 1, 98), 1e300, -1.7e308]
    encoders = fitted(table_of(values), encoding={"numbers": {"scale": "robust", "smooth_clip": True}})
    code = encoders.features[0]
    assert isinstance(code, NumericCode)
    x = encode_table(table_of(values), encoders, dtype=np.float64)[:, 0]
    z = (np.array(values[:98]) - code.mean) / code.scale
    np.testing.assert_allclose(x[:98], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12)
    assert x[98:].tolist() == [3, -3]


def test_bins_are_piecewise_linear_between_quantiles() -> None:
    """As in the paper, 0 before the bin, 1 behind it, and the share within; beside the scaled number."""
    values = COLUMNS["heavy"]
    encoders = fitted(table_of(values), encoding={"numbers": {"bins": 8}})
    edges = np.quantile(values, np.linspace(0, 1, 9))
    expected = [[np.interp(value, edges[b : b + 2], [0, 1]) for b in range(8)] for value in values]
    x = encode_table(table_of(values), encoders, dtype=np.float64)
    np.testing.assert_allclose(x[:, 1:], expected, atol=1e-12)
    np.testing.assert_allclose(x[:, 0], (values - values.mean()) / values.std(), rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "width"),
    [([0, 1] * 10, 1), ([1, 2, 3, 2] * 5, 3), ([5] * 20, 1), ([None] * 20, 1), ([0] * 15 + [1, 2, 3, 4, 5], 6)],
)
def test_few_distinct_numbers_get_few_bins(values: list[Any], width: int) -> None:
    """Their edges are these numbers; a column of two gets none. A submission assumes at least as many."""
    changes = {"encoding": {"numbers": {"bins": 24}}, "columns": {"x": {"type": "numeric"}}}
    table = pa.table({"x": pa.array(values, pa.float64()), "label": ["a", "b"] * 10})
    encoders = fitted(table, **changes)
    assert encoders.width == encode_table(table, encoders).shape[1] == width
    assert roles_of(table, **changes).inputs >= width


def test_a_missing_cell_may_have_an_input_of_its_own() -> None:
    """Only where the training part has missing cells; it says so of any row that is asked."""
    table = table_of(COLUMNS["gaps"])
    encoding = {"numbers": {"indicator": True, "bins": 4}}
    encoders = fitted(table, encoding=encoding)
    x = encode_table(table, encoders, dtype=np.float64)
    assert x.shape == (300, 6)
    np.testing.assert_array_equal(x[:, -1:], MissingIndicator().fit_transform(COLUMNS["gaps"][:, None]))
    whole = table_of(COLUMNS["normal"])
    assert fitted(whole, encoding=encoding).width == 5
    assert roles_of(table, encoding=encoding).inputs == 6
    assert RowEncoder(encoders).encode([[None], [0.0]]).x[:, -1].tolist() == [1, 0]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9])
def test_rare_categories_share_one_input(most: int) -> None:
    """As scikit-learn's infrequent ones do; which are rare is a matter of the training part."""
    cells = ["a"] * 8 + ["b"] * 6 + ["c"] * 4 + ["d"] * 2
    table = table_of(cells)
    encoders = fitted(table, encoding={"categories": {"most": most}})
    limit = most + 1 if most < 4 else None
    oracle = preprocessing.OneHotEncoder(max_categories=limit, sparse_output=False)
    x = encode_table(table, encoders)
    np.testing.assert_array_equal(x, oracle.fit_transform(np.array(cells)[:, None]))
    (code,) = encoders.features
    assert isinstance(code, CategoricalCode)
    assert [*code.categories, *code.rare] == ["a", "b", "c", "d"]
    assert code.category_count == roles_of(table, encoding={"categories": {"most": most}}).features[0].categories
    # a rare one is known, and one that training never saw is not
    found = RowEncoder(encoders).encode([["d"], ["e"], [None]])
    assert [warning["row"] for warning in found.warnings.first] == [1]
    assert found.x[1].tolist() == [0] * code.category_count
    assert found.x[2].tolist() == x[0].tolist()


def test_a_column_may_be_encoded_otherwise_than_the_others() -> None:
    table = pa.table({"x": [1.0, 2.0, 4.0, 8.0], "y": [1.0, 2.0, 4.0, 8.0], "label": ["a", "b"] * 2})
    changes = {
        "features": ["x", "y"],
        "encoding": {"numbers": {"scale": "minmax"}},
        "columns": {"y": {"scale": "none", "log": True}},
    }
    x = encode_table(table, fitted(table, **changes), dtype=np.float64)
    np.testing.assert_allclose(x, [[0, np.log(2)], [1 / 7, np.log(3)], [3 / 7, np.log(5)], [1, np.log(9)]])


@pytest.mark.parametrize(
    ("override", "pointer"),
    [({"most": 3}, "/columns/x/most"), ({"type": "categorical", "bins": 3}, "/columns/x/bins")],
)
def test_what_is_not_for_a_kind_of_column_is_refused(override: dict[str, Any], pointer: str) -> None:
    table = pa.table({"x": [1, 2, 3, 4], "label": ["a", "b"] * 2})
    with pytest.raises(SpecError) as caught:
        roles_of(table, columns={"x": override})
    assert caught.value.pointer == pointer


def test_rows_and_tables_are_encoded_alike() -> None:
    """Every way at once, one row at a time and all together: the same bits."""
    table = pa.table(
        {name: pa.array(values, from_pandas=True) for name, values in COLUMNS.items()}
        | {"kind": ["a", "b", "c"] * 100, "label": ["y", "n"] * 150}
    )
    numbers = {"scale": "robust", "smooth_clip": True, "bins": 24, "indicator": True}
    columns = {"amounts": {"log": True, "bins": 0}, "since": {"scale": "quantile"}, "tiny": {"scale": "minmax"}}
    encoding = {"numbers": numbers, "categories": {"most": 1}}
    encoders = fitted(table, features=[*COLUMNS, "kind"], columns=columns, encoding=encoding)
    whole = encode_table(table, encoders)
    rows = [list(row.values()) for row in table.drop_columns("label").to_pylist()]
    one = np.concatenate([RowEncoder(encoders).encode([row]).x for row in rows])
    np.testing.assert_array_equal(one, whole)
    assert Encoders.model_validate_json(encoders.model_dump_json()) == encoders


@pytest.mark.parametrize(
    "wrong",
    [
        {"bins": (1.0, 1.0, 2.0)},
        {"bins": (2.0, 1.0)},
        {"quantiles": (0.0, 1.0), "shares": (0.0,)},
        {"shares": (0.0,)},
        {"bins": tuple(map(float, range(1000)))},
    ],
)
def test_edges_of_a_file_that_do_not_ascend_are_refused(wrong: dict[str, Any]) -> None:
    code = {"name": "x", "median": 0.0, "mean": 0.0, "scale": 1.0}
    assert _numbers_fit(NumericCode.model_validate(code | {"bins": (1.0, 2.0)}))
    assert not _numbers_fit(NumericCode.model_validate(code | wrong))
