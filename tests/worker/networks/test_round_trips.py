"""What we export we can import: the same network, bit for bit, from every format that has both ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.conftest import spec_of
from tests.worker.networks.networks import (
    EVERY_LAYER,
    FEATURES,
    MIXED,
    encoders_of,
    expected,
    mixed,
    published,
    random_network,
    run_onnx,
    safetensors_of,
    trained,
)
from tests.worker.networks.strangers import ACTIVE
from worker.data.sources import make_table
from worker.errors import SpecError, WeightsFileError
from worker.networks.onnx.reader import from_onnx
from worker.networks.onnx.writer import to_onnx
from worker.networks.predictor import Predictor
from worker.networks.safetensors import from_safetensors
from worker.networks.trained import Trained
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset

FORMATS: dict[str, tuple[Callable[..., bytes], Callable[..., Trained]]] = {
    "safetensors": (safetensors_of, from_safetensors),
    "onnx": (to_onnx, from_onnx),
}
EXPORTED = Path(__file__).parent / "exported"
of_every_format = pytest.mark.parametrize("kind", FORMATS)


def assert_comes_back(of: Trained, rows: pa.Table, kind: str) -> None:
    write, read = FORMATS[kind]
    back = read(write(published(of)), None, Limits())
    assert (list(back.layers), back.encoders) == (list(of.layers), of.encoders)
    assert list(back.arrays) == list(of.arrays)
    for name, array in back.arrays.items():
        assert (array.dtype, array.tobytes()) == (of.arrays[name].dtype, of.arrays[name].tobytes()), name
    assert Predictor(back).predict_table(rows) == Predictor(of).predict_table(rows)


@of_every_format
@pytest.mark.parametrize("name", ["xor", "digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_a_network_of_every_built_in_table_comes_back(name: str, kind: str) -> None:
    """A network trained on each table is exported and imported again: the same value, and the same predictions."""
    dataset = BuiltinDataset(source="builtin", name=name)  # type: ignore[arg-type]
    table = make_table(dataset)
    target = "target" if name == "diabetes" else "label"
    spec = spec_of(dataset=dataset, target=target, training={"epochs": 3})
    assert_comes_back(trained(spec, table), table, kind)


@of_every_format
@pytest.mark.parametrize("members", [None, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layer_comes_back(members: int | None, dtype: Any, kind: str) -> None:
    """Each kind of layer comes back in each precision, in a single network and in an ensemble."""
    layers = [{"type": "embedding", "column": name, "dimensions": 2} for name in ("kind", "grade")]
    encoders = encoders_of(mixed(network={"layers": layers}))
    placed = [layers[0] | {"position": 1, "categories": 4}, layers[1] | {"position": 2, "categories": 3}]
    output = {"type": "dense", "units": 3, "activation": "softmax"}
    of = random_network([*placed, *EVERY_LAYER, output], encoders, members=members, dtype=dtype)
    assert_comes_back(of, MIXED, kind)


@of_every_format
@pytest.mark.parametrize("ensemble", [1, 3])
@pytest.mark.parametrize(
    ("target", "loss"),
    [
        ("label", "cross_entropy"),
        (("red", "round"), "binary_cross_entropy"),
        (("price", "count"), "huber"),
        ("count", "poisson"),
    ],
)
def test_every_kind_of_target_comes_back(target: Any, loss: str, ensemble: int, kind: str) -> None:
    """Classes, labels, numbers and counts come back, from trained jobs on categories and missing cells."""
    layers = [{"type": "embedding", "column": "kind", "dimensions": 3}, {"type": "dense", "units": 5}]
    training = {"loss": loss, "ensemble": ensemble}
    spec = mixed(target=target, features=FEATURES, network={"layers": layers}, training=training)
    assert_comes_back(trained(spec, MIXED), MIXED, kind)


@of_every_format
def test_columns_with_the_names_of_arrays_come_back(kind: str) -> None:
    """A column may have the name that a weights file gives to an array."""
    names = ["layers.0.w", "layers.0.w_1", "layers.1.b", "layers.0", *"bcdef"]
    table = MIXED.rename_columns(names)
    assert_comes_back(trained(spec_of(features=names[:4], target="b"), table), table, kind)


@of_every_format
def test_a_file_that_version_one_exported_is_imported(kind: str) -> None:
    """People keep exported files for years. If this fails, `reader.py` must still accept how they were written then.

    The files in `exported/` are never written again: an ensemble of two with every kind of layer and two embeddings.
    """
    read = FORMATS[kind][1]
    of = read((EXPORTED / f"every_layer.{kind}").read_bytes(), None, Limits())
    by_onnxruntime = run_onnx((EXPORTED / "every_layer.onnx").read_bytes(), MIXED)["probabilities"]
    np.testing.assert_allclose(expected(of, MIXED)["probabilities"], by_onnxruntime, atol=1e-5)


def exported() -> ModelProto:
    return onnx.load_from_string(to_onnx(published(trained(mixed(), MIXED))))


def array_of(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def change_an_activation(model: ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Sin"


def change_a_scale(model: ModelProto) -> None:
    array_of(model, "scales").CopyFrom(numpy_helper.from_array(np.ones((1, 2)), "scales"))


def add_an_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", None]))


def redefine_an_operator(model: ModelProto) -> None:
    model.functions.append(helper.make_function("", "Tanh", ["x"], ["y"], [], []))


def change_the_operator_set(model: ModelProto) -> None:
    model.opset_import[0].version = 20


@pytest.mark.parametrize(
    "change",
    [change_an_activation, change_a_scale, add_an_output, redefine_an_operator, change_the_operator_set],
)
def test_a_file_whose_graph_was_changed_is_refused(change: Callable[[ModelProto], None]) -> None:
    """Its graph would compute something else than the network that its metadata describes."""
    model = exported()
    from_onnx(model.SerializeToString(), None, Limits())
    change(model)
    with pytest.raises(WeightsFileError, match="its graph was changed after it was exported"):
        from_onnx(model.SerializeToString(), None, Limits())


def test_changed_weights_are_imported_as_they_are() -> None:
    """Other numbers in the arrays are another network of the same kind, and its graph is the one we would write."""
    model = exported()
    array_of(model, "layers.0.b").CopyFrom(numpy_helper.from_array(np.ones((1, 8), np.float32), "layers.0.b"))
    assert (from_onnx(model.SerializeToString(), None, Limits()).arrays["layers.0.b"] == 1).all()


def tensor(array: Any, name: str = "layers.0.b") -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def elsewhere(name: str) -> TensorProto:
    """Return a tensor whose numbers are in another file."""
    made = tensor(np.ones((1, 8), np.float32), name)
    made.ClearField("raw_data")
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value="/etc/passwd")
    return made


@pytest.mark.parametrize(
    ("name", "replaced", "said"),
    [
        ("layers.0.b", tensor([0.0], "other"), "constant layers.0.b is missing"),
        ("layers.0.b", tensor(np.ones(7, np.float32)), "must have 8 numbers, got 7"),
        ("layers.0.b", tensor(np.full((1, 8), np.nan, np.float32)), "not finite"),
        ("layers.0.b", tensor(np.ones((1, 8), np.float64)), "one precision"),
        ("layers.0.b", tensor(np.ones((1, 8), np.int64)), "must be of floats"),
        ("layers.0.b", elsewhere("layers.0.b"), "in another file"),
        ("layers.1.w", tensor(np.ones((65, 8, 3), np.float32), "layers.1.w"), "at most 64 members"),
        ("layers.1.w", tensor(np.ones((2, 8, 3), np.float32), "layers.1.w"), "must have"),
        ("layers.1.w", tensor(np.ones((0, 8, 3), np.float32), "layers.1.w"), "at most 64 members"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, replaced: TensorProto, said: str) -> None:
    """The constants of our own file are a client's numbers, and are checked like any others."""
    model = exported()
    array_of(model, name).CopyFrom(replaced)
    with pytest.raises(WeightsFileError, match=said):
        from_onnx(model.SerializeToString(), None, Limits())


@pytest.mark.parametrize("key", ["network", "encoders"])
def test_metadata_that_does_not_fit_is_refused(key: str) -> None:
    """The network and the encoders in the metadata are a client's words, and are checked before they are used."""
    model = exported()
    entry = next(entry for entry in model.metadata_props if entry.key == key)
    entry.value = entry.value.replace("8", "9", 1) if key == "network" else entry.value.replace("kind", "size")
    with pytest.raises(WeightsFileError):
        from_onnx(model.SerializeToString(), None, Limits())
    entry.value = "[" * 100_000
    with pytest.raises(WeightsFileError, match="can't be read"):
        from_onnx(model.SerializeToString(), None, Limits())


@of_every_format
def test_our_own_file_takes_no_description(kind: str) -> None:
    """The file describes itself; a second description could only contradict it."""
    write, read = FORMATS[kind]
    with pytest.raises(SpecError, match="describes itself"):
        read(write(published(trained(mixed(), MIXED))), ACTIVE, Limits())
