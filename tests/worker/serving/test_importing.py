"""Files from elsewhere: networks that predict as they did there, and strangers' bytes that are refused."""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper
from safetensors import numpy as safetensors

from tests.conftest import missing
from tests.worker.serving.networks import MIXED, random_network, trained
from tests.worker.serving.test_onnx import EVERY_LAYER, encoders_of, mixed
from worker.errors import SpecError, WeightsFileError
from worker.serving.export.onnx_file import to_onnx
from worker.serving.export.trained import Trained
from worker.serving.export.weights_file import to_safetensors
from worker.serving.importing.imported import Imported
from worker.serving.importing.onnx_file import from_onnx
from worker.serving.importing.safetensors_file import from_safetensors
from worker.serving.predictor import Prediction, Predictor
from worker.settings import Limits
from worker.specs.imports import Description

GENERATOR = np.random.default_rng(4)
X = GENERATOR.normal(size=(20, 3))
W1, W2 = GENERATOR.normal(size=(3, 5)).astype(np.float32), GENERATOR.normal(size=(5, 2)).astype(np.float32)
B1, B2 = GENERATOR.normal(size=5).astype(np.float32), GENERATOR.normal(size=2).astype(np.float32)
STATE = {"0.weight": W1.T.copy(), "0.bias": B1, "2.weight": W2.T.copy(), "2.bias": B2}


def predicted(imported: Imported, rows: Any = None) -> Prediction:
    recipe = imported.recipe
    predictor = Predictor(recipe.network, recipe.encoders, imported.arrays)
    return predictor.predict_rows((X if rows is None else rows).tolist())


def state_dict(**description: Any) -> Imported:
    said = Description.model_validate(description) if description else None
    return from_safetensors(safetensors.save(STATE), said, Limits())


def model_of(nodes: list[Any], constants: dict[str, Any], **graph: Any) -> bytes:
    """An ONNX file from x to y."""
    given = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", None]) for name in ("x", "y")]
    built = helper.make_graph(nodes, "g", graph.get("inputs", values[:1]), graph.get("outputs", values[1:]), given)
    content: bytes = helper.make_model(built, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()
    return content


def imported_onnx(nodes: list[Any], constants: dict[str, Any] | None = None, **description: Any) -> Imported:
    said = Description.model_validate(description) if description else None
    return from_onnx(model_of(nodes, constants or {"w": W2[:3]}), said, Limits())


@pytest.mark.parametrize("members", [None, 2])
def test_our_own_file_comes_back_whole(members: int | None) -> None:
    """Every layer, embeddings, encoders, target and members: the same layers, encoders and bits."""
    layers = [{"type": "embedding", "column": name, "dimensions": 2} for name in ("kind", "grade")]
    encoders = encoders_of(mixed(network={"layers": layers}))
    placed = [layers[0] | {"position": 1, "categories": 4}, layers[1] | {"position": 2, "categories": 3}]
    output = {"type": "dense", "units": 3, "activation": "softmax"}
    of = random_network([*placed, *EVERY_LAYER, output], encoders, members=members)
    back = from_safetensors(to_safetensors(of), None, Limits())
    assert (list(back.layers), back.encoders) == (list(of.layers), of.encoders)
    assert back.arrays.keys() == of.arrays.keys()
    assert all(np.array_equal(array, of.arrays[name]) for name, array in back.arrays.items())


def test_a_pytorch_state_dict_predicts_as_pytorch_did() -> None:
    """Written by PyTorch's own safetensors, with the activations told beside it."""
    if importlib.util.find_spec("torch") is None:
        missing("PyTorch")
    import torch
    from safetensors.torch import save
    from torch import nn

    network = nn.Sequential(nn.Linear(3, 5), nn.GELU(approximate="tanh"), nn.Linear(5, 4, bias=False), nn.Softmax(-1))
    told = {"activations": ["gelu", "softmax"], "features": ["a", "b", "c"], "classes": ["n", "e", "s", "w"]}
    imported = from_safetensors(save(network.state_dict()), Description.model_validate(told), Limits())
    with torch.no_grad():
        expected = network(torch.tensor(X, dtype=torch.float32)).numpy()
    found = predicted(imported)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.predictions == [told["classes"][n] for n in expected.argmax(axis=1)]
    assert [code.name for code in imported.encoders.features] == ["a", "b", "c"]


def test_a_file_that_pytorch_exported_predicts_as_pytorch_did() -> None:
    """Flatten, Gemm with transposed weights, activations, Dropout; without a softmax it gives numbers."""
    if importlib.util.find_spec("torch") is None:
        missing("PyTorch")
    import torch
    from torch import nn

    layers = [nn.Flatten(), nn.Linear(3, 5), nn.ELU(), nn.Dropout(0.2), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)]
    network = nn.Sequential(*layers).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter that needs no other library is the old one
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3),), file, dynamo=False)
    with torch.no_grad():
        expected = network(torch.tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(predicted(from_onnx(file.getvalue(), None, Limits())).predictions, expected, atol=1e-6)
    of_classes = from_onnx(file.getvalue(), Description(classes=("no", "yes")), Limits())
    shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predicted(of_classes).probabilities, shares, atol=1e-6)


def test_products_and_sums_are_layers() -> None:
    """As scikit-learn's converter writes them; biases on either side, as constants of the graph or of nodes."""
    constant = helper.make_node("Constant", [], ["b2"], value=numpy_helper.from_array(B2[None]))
    nodes = [
        constant,
        helper.make_node("MatMul", ["x", "w1"], ["p"]),
        helper.make_node("Add", ["b1", "p"], ["q"]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["s"]),
        helper.make_node("Add", ["s", "b2"], ["t"]),
        helper.make_node("Softmax", ["t"], ["y"], axis=1),
    ]
    imported = imported_onnx(nodes, {"w1": W1, "b1": B1, "w2": W2})
    z = np.maximum(X @ W1 + B1, 0) @ W2 + B2
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    found = predicted(imported)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.classes == ["0", "1"]


def test_gemm_has_factors() -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=2.0, beta=0.5, transB=1)
    expected = 2 * X @ W2[:3] + 0.5 * B2
    found = predicted(imported_onnx([node], {"w": W2[:3].T.copy(), "b": B2}))
    np.testing.assert_allclose(found.predictions, expected, atol=1e-6)


ONNX_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "gelu": ("Gelu", {"approximate": "tanh"}),
    "softplus": ("Softplus", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {}),
}


@pytest.mark.parametrize("name", ONNX_NAMES)
def test_an_onnx_activation_is_ours(name: str) -> None:
    """ONNX's own reference evaluator computes the same."""
    from onnx.reference import ReferenceEvaluator

    operator, attributes = ONNX_NAMES[name]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["p"]),
        helper.make_node(operator, ["p"], ["q"], **attributes),
        helper.make_node("MatMul", ["q", "w2"], ["y"]),
    ]
    content = model_of(nodes, {"w1": W1, "w2": W2})
    (expected,) = ReferenceEvaluator(content).run(None, {"x": X.astype(np.float32)})
    np.testing.assert_allclose(predicted(from_onnx(content, None, Limits())).predictions, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("description", "kind", "names"),
    [
        ({"activations": ["relu", "softmax"]}, "class", ("0", "1")),
        ({"activations": ["relu", "identity"], "classes": ["no", "yes"]}, "class", ("no", "yes")),
        ({"activations": ["relu", "sigmoid"], "targets": ["red", "round"]}, "labels", ("red", "round")),
        ({"activations": ["relu", "identity"]}, "number", ("y0", "y1")),
        ({"activations": ["relu", "tanh"], "targets": ["up", "down"]}, "number", ("up", "down")),
    ],
)
def test_what_it_answers_follows_from_the_output_layer(
    description: dict[str, Any], kind: str, names: tuple[str, ...]
) -> None:
    target = state_dict(**description).encoders.target
    assert target.type == kind
    assert getattr(target, "classes", None) or getattr(target, "names", None) == names


@pytest.mark.parametrize(
    ("description", "pointer", "said"),
    [
        ({}, "/activations", "one for each layer"),
        ({"activations": ["relu"]}, "/activations", "must be 2"),
        ({"activations": ["relu", "softmax"], "features": ["a"]}, "/features", "must be 3 names"),
        ({"activations": ["relu", "softmax"], "features": ["a", "a", "b"]}, "/features", "twice"),
        ({"activations": ["relu", "softmax"], "classes": ["a", "b", "c"]}, "/classes", "must be 2 names"),
        ({"activations": ["relu", "softmax"], "targets": ["a", "b"]}, "/targets", "tells classes apart"),
        ({"activations": ["relu", "tanh"], "classes": ["a", "b"]}, "/classes", "told apart by softmax"),
    ],
)
def test_a_description_that_does_not_fit_is_named(description: dict[str, Any], pointer: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as refused:
        state_dict(**description)
    assert refused.value.pointer == pointer


ACTIVE = Description(activations=("relu", "softmax"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"0.weight": W1.T[0]}, "must be a matrix"),
        ({"0.bias": B2}, "the bias of 0.weight must be"),
        ({"2.weight": W1.T.copy()}, "takes 3 inputs; 5 units"),
        ({"2.weight": np.full((2, 5), np.nan, np.float32)}, "not finite"),
        ({"2.weight": np.full((2, 5), np.inf, np.float64)}, "not finite"),
        ({"2.weight": np.zeros((2, 5), np.int32)}, "must be float16"),
        ({"2.weight": np.zeros((0, 5), np.float32), "2.bias": np.zeros(0, np.float32)}, "must be a matrix"),
        ({"1.running_mean": B1}, "neither N.weight nor N.bias"),
        ({"head.0.weight": W1}, "named alike"),
        ({"00.weight": W1}, "named alike"),
    ],
)
def test_a_state_dict_that_is_no_chain_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsFileError, match=said):
        from_safetensors(safetensors.save(STATE | changes), ACTIVE, Limits())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95pickle",
        b"\xff" * 64,
        (2**63).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b'{"a": {"dtype": "F32"',
        safetensors.save(STATE)[:-1],
        safetensors.save(STATE) + b"\0",
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_file_of_weights_are_refused(content: bytes) -> None:
    for read in (from_safetensors, from_onnx):
        with pytest.raises(WeightsFileError):
            read(content, None, Limits())


def own(change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]) -> bytes:
    """Our own file of a trained network, changed: its network, encoders and arrays."""
    layers = [{"type": "embedding", "column": "kind", "dimensions": 2}, {"type": "dense", "units": 3}]
    of: Trained = trained(mixed(network={"layers": layers}), MIXED)
    content = to_safetensors(of)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    documents = {"layers": json.loads(header["network"])}, json.loads(header["encoders"]), dict(of.arrays)
    change(*documents)
    network, encoders, arrays = documents
    metadata = header | {"network": json.dumps(network["layers"]), "encoders": json.dumps(encoders)}
    return safetensors.save(arrays, metadata)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n, e, a: n["layers"].pop(), r"layers.2.b must be absent"),
        (lambda n, e, a: n["layers"].pop(0), "embedded columns"),
        (lambda n, e, a: n.update(layers=[]), "1 to 257 layers"),
        (lambda n, e, a: n.update(layers=n["layers"] * 200), "1 to 257 layers"),
        (lambda n, e, a: n["layers"][0].update(position=7), "embeddings"),
        (lambda n, e, a: n["layers"][0].update(position=0), "embeddings"),
        (lambda n, e, a: n["layers"][0].update(categories=1), "embeddings"),
        (lambda n, e, a: n["layers"][0].update(column="size"), "categorical feature"),
        (lambda n, e, a: n["layers"][1].update(units=65_536), "must be"),
        (lambda n, e, a: n["layers"][1].update(units=10**9), "can't be read"),
        (lambda n, e, a: n["layers"][1].update(activation="exec"), "can't be read"),
        (lambda n, e, a: n["layers"][1].update(type="dropout", rate=0.1), "can't be read"),
        (lambda n, e, a: e["features"][0].update(scale=0.0), "can't be used"),
        (lambda n, e, a: e["features"][0].update(mean=float("nan")), "can't be (used|read)"),
        (lambda n, e, a: e["features"][0].update(name="kind"), "two columns"),
        (lambda n, e, a: e["features"][0].update(name="a\nb"), "printable"),
        (lambda n, e, a: e["features"][1].update(most_frequent="zebra"), "can't be used"),
        (lambda n, e, a: e["features"][1].update(categories=["a", "a", "b"]), "can't be used"),
        (lambda n, e, a: e["features"][3].update(categories=["a" * 100_000, "b", "c"]), "can't be used"),
        (lambda n, e, a: e["target"].update(classes=["yes"]), "target does not fit"),
        (lambda n, e, a: e["target"].update(classes=["yes", "yes", "no"]), "target does not fit"),
        (lambda n, e, a: e.update(target={"type": "number", "names": ["a"], "means": [], "scales": []}), "target"),
        (lambda n, e, a: e.pop("target"), "can't be read"),
        (lambda n, e, a: a.pop("layers.1.b"), r"layers.1.b must be \(3,\), got nothing"),
        (lambda n, e, a: a.update({"layers.1.c": a["layers.1.b"]}), "must be absent"),
        (lambda n, e, a: a.update({"layers.1.b": a["layers.1.b"].astype(np.float64)}), "one precision"),
        (lambda n, e, a: a.update({"layers.1.b": np.full(3, np.nan, np.float32)}), "not finite"),
        (lambda n, e, a: a.update({f"members.{k}.x": a["layers.1.b"] for k in range(65)}), "at most 64 members"),
    ],
)
def test_our_own_format_with_a_lie_in_it_is_refused(change: Any, said: str) -> None:
    """Nothing that it claims is believed, or allocated, before it has been compared."""
    with pytest.raises(WeightsFileError, match=said):
        from_safetensors(own(change), None, Limits())


def test_our_own_file_needs_no_description() -> None:
    with pytest.raises(SpecError, match="describes itself"):
        from_safetensors(own(lambda n, e, a: None), ACTIVE, Limits())
    with pytest.raises(SpecError, match="has its own"):
        from_onnx(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W1}), ACTIVE, Limits())


def test_a_network_past_the_limit_is_refused() -> None:
    """Also where one matrix of a small file stands for many layers."""
    square = np.eye(100, dtype=np.float32)
    names = ["x", *(f"h{n}" for n in range(30)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    content = model_of(nodes, {"w": square})
    assert len(from_onnx(content, None, Limits()).layers) == 31
    with pytest.raises(WeightsFileError, match="past the limit"):
        from_onnx(content, None, Limits(parameters=100_000))
    with pytest.raises(WeightsFileError, match="the limit is 20"):
        from_safetensors(safetensors.save(STATE), ACTIVE, Limits(parameters=20))


def matmul(*inputs: str, **attributes: Any) -> Any:
    return helper.make_node("MatMul", list(inputs), ["p"], name="first", **attributes)


def then(operator: str, *more: str, **attributes: Any) -> list[Any]:
    return [matmul("x", "w"), helper.make_node(operator, ["p", *more], ["y"], name="second", **attributes)]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "1 to 2056 nodes"),
        (then("Conv", "w"), r"node 1 \(Conv 'second'\) can't be taken; these can: Gemm, MatMul, Add, Relu"),
        (then("If"), "can't be taken"),
        (then("Relu", domain="com.microsoft"), "another domain"),
        (then("LeakyRelu", alpha=0.3), "other numbers than our leaky_relu"),
        (then("Gelu"), "other numbers than our gelu"),
        (then("Softmax", axis=0), "other numbers"),
        (then("Flatten", axis=0), "can't be taken"),
        (then("MatMul", "p"), "one way"),
        (then("MatMul", "absent"), "constant weights"),
        (then("Gemm", "w2", alpha="x"), "must have a number as alpha"),
        (then("Gemm", "w2", transA=1), "x times weights"),
        (then("Gemm", "w2", alpha=float("nan")), "not finite"),
        (then("Relu", strange=[1, 2]), "neither a number nor text"),
        (then("Add", "w"), "must add 5 numbers"),
        ([helper.make_node("Add", ["x", "w"], ["y"])], "must follow a Gemm"),
        ([helper.make_node("Relu", ["x"], ["y"])], "must follow a dense layer"),
        ([helper.make_node("Identity", ["x"], ["y"])], "no dense layer"),
        ([*then("Relu"), helper.make_node("Tanh", ["y"], ["z"])], "one activation each"),
        ([matmul("w", "x")], "x times weights"),
        ([matmul("x", "text")], "must be of floats"),
        ([helper.make_node("MatMul", ["x", "w"], [])], "gives nothing"),
        ([matmul("x", "w")], "its output is not"),
        ([helper.make_node("Constant", [], ["w"], value_float=1.0), matmul("x", "w")], "must be a tensor"),
    ],
)
def test_an_onnx_graph_that_is_no_chain_is_refused(nodes: list[Any], said: str) -> None:
    """By the node that can't be taken."""
    constants = {"w": W1, "w2": W2, "text": np.array([["a"]], object)}
    with pytest.raises(WeightsFileError, match=said):
        from_onnx(model_of(nodes, constants), None, Limits())


def test_several_inputs_or_outputs_are_refused() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in ("x", "y")]
    with pytest.raises(WeightsFileError, match="one input and one output"):
        from_onnx(model_of(then("Relu"), {"w": W1}, inputs=values), None, Limits())
    with pytest.raises(WeightsFileError, match="one input and one output"):
        from_onnx(model_of(then("Relu"), {"w": W1}, outputs=values), None, Limits())


@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../secret"])
def test_numbers_in_another_file_are_refused(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened, whatever the name."""
    model = ModelProto.FromString(model_of(then("Relu"), {"w": W1}))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(StringStringEntryProto(key="location", value=location))
    monkeypatch.setattr("builtins.open", lambda *given, **more: pytest.fail(f"opened {given}"))
    with pytest.raises(WeightsFileError, match="in another file"):
        from_onnx(model.SerializeToString(), None, Limits())


def test_a_tensor_that_lies_about_its_shape_is_refused() -> None:
    """A few bytes that claim to be gigabytes."""
    for dims in ([65_536, 65_536], [-1, -1], [3, 6], [2**62, 4]):
        model = ModelProto.FromString(model_of(then("Relu"), {"w": W1}))
        model.graph.initializer[0].dims[:] = dims
        with pytest.raises(WeightsFileError, match="not as many numbers"):
            from_onnx(model.SerializeToString(), None, Limits())


def test_our_own_onnx_file_is_refused_by_a_name() -> None:
    """Its encoding is no chain of layers; the safetensors export is what comes back."""
    with pytest.raises(WeightsFileError, match="one input"):
        from_onnx(to_onnx(trained(mixed(), MIXED)), None, Limits())


def test_files_with_wrong_bytes_are_taken_or_refused_and_nothing_else() -> None:
    """Bytes changed, cut out and doubled at random: whatever is taken predicts, and no other error escapes."""
    generator = np.random.default_rng(0)
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["p"], name="first", alpha=0.5, transB=1)
    onnx = model_of([gemm, helper.make_node("Elu", ["p"], ["y"])], {"w": W1.T.copy(), "b": B1})
    taken = 0
    for content, read in ((own(lambda n, e, a: None), from_safetensors), (onnx, from_onnx)) * 400:
        spoilt = bytearray(content)
        # most of a file is its beginning: names, shapes and types
        place = int(generator.integers(len(spoilt))) if generator.random() < 0.5 else int(generator.integers(200))
        length = int(generator.integers(1, 4))
        spoilt[place : place + length] = generator.bytes(length * int(generator.integers(3)))
        try:
            imported = read(bytes(spoilt), None, Limits())
        except (WeightsFileError, SpecError):
            continue
        taken += 1
        Predictor(imported.recipe.network, imported.recipe.encoders, imported.arrays)
    assert 0 < taken < 800
