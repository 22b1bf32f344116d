"""The ONNX file, run by ONNX Runtime on raw columns, predicts as we do."""

from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest

from tests.conftest import spec_of
from tests.worker.networks.networks import (
    ENCODED,
    EVERY_LAYER,
    FEATURES,
    JOB_ID,
    MIXED,
    WEIGHTS_ID,
    encoders_of,
    expected,
    mixed,
    published,
    random_network,
    run_onnx,
    trained,
    with_times,
)
from worker.backprop.activations import ACTIVATIONS
from worker.data.encoders import ClassTarget, Encoders, NumberTarget
from worker.data.sources import make_table
from worker.errors import DataError
from worker.networks.onnx.writer import to_onnx
from worker.networks.predictor import Predictor
from worker.networks.trained import Trained
from worker.specs.dataset import BuiltinDataset


def assert_same(of: Trained, rows: pa.Table, tolerance: float = 1e-5) -> None:
    found, wanted = run_onnx(to_onnx(published(of)), rows), expected(of, rows)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value[0], str):
            assert found[name].tolist() == value
            continue
        np.testing.assert_allclose(found[name], np.reshape(value, found[name].shape), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["xor", "digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_every_built_in_dataset_predicts_the_same(name: str) -> None:
    """Labels and probabilities, or numbers in the user's units, agree in every row of the table."""
    dataset = BuiltinDataset(source="builtin", name=name)  # type: ignore[arg-type]
    table = make_table(dataset)
    target = "target" if name == "diabetes" else "label"
    spec = spec_of(dataset=dataset, target=target, training={"epochs": 10})
    assert_same(trained(spec, table), table)


@pytest.mark.parametrize(
    ("target", "loss"),
    [
        ("label", "cross_entropy"),
        ("grade", "mean_squared_error"),
        (("red", "round"), "binary_cross_entropy"),
        (("price", "count"), "huber"),
        ("price", "quantile"),
        ("count", "poisson"),
    ],
)
@pytest.mark.parametrize("ensemble", [1, 3])
def test_every_kind_of_target_predicts_the_same(target: Any, loss: str, ensemble: int) -> None:
    """Jobs on categories, missing cells and an embedding agree, alone and as ensembles with their spread."""
    features = [name for name in FEATURES if name != target]
    layers = [{"type": "embedding", "column": "kind", "dimensions": 3}, {"type": "dense", "units": 5}]
    spec = mixed(
        target=target, features=features, network={"layers": layers}, training={"loss": loss, "ensemble": ensemble}
    )
    if target == "grade":
        spec = spec.model_copy(update={"columns": {"kind": spec.columns["kind"]}})
    assert_same(trained(spec, MIXED), MIXED)


def test_every_encoding_of_a_column_computes_the_same() -> None:
    """Also for missing cells, numbers far outside the range of training, and categories that are rare or new."""
    of = trained(mixed(**ENCODED), MIXED)
    assert_same(of, MIXED)
    far = {"size": [1e300, -1e9, None] * 10, "day": [0.0, -20261115.5, 3e7] * 10, "kind": ["c", "zebra", None] * 10}
    rows = MIXED
    for name, cells in far.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(cells))
    assert_same(of, rows)


def test_a_time_computes_the_same() -> None:
    """As the seconds that it was read as, also in a week and a year that training never saw."""
    of, rows = with_times()
    assert_same(of, rows)
    assert_same(of, rows.set_column(0, "at", pa.array([n * 1e7 - 3e8 for n in range(60)])))


def test_two_classes_from_one_output_predict_the_same() -> None:
    """A sigmoid gives the probability of the second class; the file gives both."""
    table = MIXED.set_column(4, "label", pa.array(["yes", "no", "no"] * 10))
    of = trained(mixed(training={"loss": "binary_cross_entropy"}), table)
    assert of.network.outputs == 1
    assert_same(of, table)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layer_computes_the_same(members: int | None, dtype: Any) -> None:
    """Embeddings, normalisations and a residual block agree, in float64 to twelve digits."""
    layers = [{"type": "embedding", "column": name, "dimensions": 2} for name in ("kind", "grade")]
    encoders = encoders_of(mixed(network={"layers": layers}))
    resolved = [
        layers[0] | {"position": 1, "categories": 4},
        layers[1] | {"position": 2, "categories": 3},
        *EVERY_LAYER,
        {"type": "dense", "units": 3, "activation": "softmax"},
    ]
    of = random_network(resolved, encoders, members=members, dtype=dtype)
    assert_same(of, MIXED, 1e-5 if dtype == np.float32 else 1e-12)


def test_a_lone_embedded_column_computes_the_same() -> None:
    """Its point is the only input of the next layer; no constant is an empty array, which some runtimes refuse."""
    layers = [{"type": "embedding", "column": "kind", "dimensions": 2}]
    encoders = encoders_of(mixed(features=("kind",), network={"layers": layers}))
    resolved = [layers[0] | {"position": 0, "categories": 4}, {"type": "dense", "units": 3, "activation": "softmax"}]
    of = random_network(resolved, encoders)
    assert_same(of, MIXED)
    assert all(0 not in tensor.dims for tensor in onnx.load_from_string(to_onnx(published(of))).graph.initializer)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_activation_computes_the_same(name: str, dtype: Any) -> None:
    """An activation in a hidden layer agrees from -40 to 40, where exponentials are large and small."""
    encoders = Encoders.model_validate(
        {
            "features": [{"type": "numeric", "name": "z", "median": 0.0, "mean": 0.0, "scale": 1.0}],
            "target": {"type": "number", "names": ["a"], "means": [0.0], "scales": [1.0]},
        }
    )
    layers = [
        {"type": "dense", "units": 2, "activation": name},
        {"type": "dense", "units": 1, "activation": "identity"},
    ]
    of = random_network(layers, encoders, dtype=dtype)
    identity = np.array([[1.0, 0.5]]), np.zeros(2), np.array([[1.0], [2.0]]), np.zeros(1)
    for array, value in zip(of.arrays.values(), identity, strict=True):
        array[...] = value
    assert_same(of, pa.table({"z": np.linspace(-40, 40, 161)}), 1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("target", ["label", ("price",), ("red", "round")])
def test_an_unknown_category_is_pooled_or_gives_nothing(embedded: bool, target: Any) -> None:
    """If the column pools it the file predicts as we do; if we refuse the row, the graph gives NaN and no class."""
    layers: list[Any] = [{"type": "embedding", "column": "kind"}] if embedded else []
    loss = "binary_cross_entropy" if "red" in target else "auto"
    job = {"target": target, "network": {"layers": layers}, "training": {"loss": loss}}
    rows = MIXED.set_column(1, "kind", pa.array(["a", "zebra", None] * 10))
    assert_same(trained(mixed(**job), MIXED), rows)
    strict = trained(mixed(**job, columns={"kind": {"type": "categorical", "unknown": "refuse"}}), MIXED)
    with pytest.raises(DataError, match="never saw"):
        Predictor(strict).predict_table(rows)
    found = run_onnx(to_onnx(published(strict)), rows)
    known = np.array([True, False, True] * 10)
    wanted = expected(strict, rows.filter(pa.array(known)))
    for name, values in found.items():
        if target == "label" and name == "predictions":
            assert (values[~known] == "").all()
            assert values[known].tolist() == wanted[name]
            continue
        of_labels = name == "predictions" and loss != "auto"
        assert (values[~known] == -1).all() if of_labels else np.isnan(values[~known]).all()
        np.testing.assert_allclose(values[known], np.reshape(wanted[name], (20, -1)), rtol=1e-5, atol=1e-5)


def test_a_missing_cell_counts_as_in_training() -> None:
    """It is the most frequent category if training had no missing cell, else a category of its own."""
    of = trained(mixed(), MIXED)
    rows = MIXED.set_column(3, "grade", pa.array([None] * 30, pa.string()))
    rows = rows.set_column(0, "size", pa.array([None] * 30, pa.float64()))
    assert_same(of, rows)


def test_columns_may_bear_any_name() -> None:
    """They may have the names of our outputs and nodes, and names that are no identifiers."""
    names = ["predictions", "layers.0.w", "number 1", "Größe / m²", "label", "x", "mean", "classes", "probabilities"]
    table = MIXED.rename_columns(names)
    layers = [{"type": "dense", "units": 2, "activation": "elu"}]
    of = trained(spec_of(features=names[:4], network={"layers": layers}), table)
    found = run_onnx(to_onnx(published(of)), table)
    assert list(found) == ["predictions_1", "probabilities"]
    assert found["predictions_1"].tolist() == expected(of, table)["predictions"]


def test_the_same_weights_give_the_same_bytes() -> None:
    """The same job gives the same file, whose metadata says which job, weights and epoch it is from."""
    of = trained(mixed(), MIXED)
    content = to_onnx(published(of))
    assert content == to_onnx(published(trained(mixed(), MIXED)))
    model = onnx.load_from_string(content)
    assert model.producer_name == "gradmill"
    known = {prop.key: prop.value for prop in model.metadata_props}
    assert (known["job_id"], known["weights_id"], known["epoch"]) == (JOB_ID, WEIGHTS_ID, "5")
    assert {(known.domain, known.version) for known in model.opset_import} == {("", 17), ("ai.onnx.ml", 3)}


def test_the_targets_here_are_of_every_kind() -> None:
    """The jobs of these tests have the targets that their names say."""
    assert isinstance(encoders_of(mixed()).target, ClassTarget)
    assert isinstance(encoders_of(mixed(target="price")).target, NumberTarget)
