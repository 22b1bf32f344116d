"""ONNX files of other libraries: chains of layers predict as they did there; other graphs are refused."""

import importlib.util
import io
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper
from safetensors import numpy as safetensors

from tests.conftest import missing
from tests.worker.networks.strangers import (
    ACTIVE,
    B1,
    B2,
    STATE,
    W1,
    W2,
    X,
    imported_onnx,
    matmul,
    model_of,
    predicted,
    then,
)
from worker.errors import WeightsFileError
from worker.networks.onnx.reader import from_onnx
from worker.networks.safetensors import from_safetensors
from worker.settings import Limits
from worker.specs.imports import Description


def test_a_file_that_pytorch_exported_predicts_as_pytorch_did() -> None:
    """Flatten, transposed weights, activations and Dropout are taken; without a softmax the outputs are numbers."""
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
    """MatMul and Add are taken as scikit-learn's converter writes them; constants may be nodes."""
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
    """A Gemm's alpha and beta scale its weights and bias, and transB turns its weights over."""
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
    """An activation computes what ONNX's own reference evaluator computes."""
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


def test_a_network_past_the_limit_is_refused() -> None:
    """The limit counts each layer, also if many layers of a small file use one matrix."""
    square = np.eye(100, dtype=np.float32)
    names = ["x", *(f"h{n}" for n in range(30)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    content = model_of(nodes, {"w": square})
    assert len(from_onnx(content, None, Limits()).layers) == 31
    with pytest.raises(WeightsFileError, match="past the limit"):
        from_onnx(content, None, Limits(parameters=100_000))
    with pytest.raises(WeightsFileError, match="the limit is 20"):
        from_safetensors(safetensors.save(STATE), ACTIVE, Limits(parameters=20))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "1 to 2056 nodes"),
        (then("Conv", "w"), r"node 1 \(Conv 'second'\) can't be imported; these can: Gemm, MatMul, Add, Relu"),
        (then("If"), "can't be imported"),
        (then("Relu", domain="com.microsoft"), "another domain"),
        (then("LeakyRelu", alpha=0.3), "differs from our leaky_relu"),
        (then("Gelu"), "differs from our gelu"),
        (then("Softmax", axis=0), "differs from our"),
        (then("Flatten", axis=0), "can't be imported"),
        (then("MatMul", "p"), "only path"),
        (then("MatMul", "absent"), "constant weights"),
        (then("Gemm", "w2", alpha="x"), "must have a number as alpha"),
        (then("Gemm", "w2", transA=1), "x times weights"),
        (then("Gemm", "w2", alpha=float("nan")), "not finite"),
        (then("Relu", strange=[1, 2]), "neither a number nor text"),
        (then("Add", "w"), "must add 5 numbers"),
        ([helper.make_node("Add", ["x", "w"], ["y"])], "must follow a Gemm"),
        ([helper.make_node("Relu", ["x"], ["y"])], "must follow a dense layer"),
        ([helper.make_node("Identity", ["x"], ["y"])], "no dense layer"),
        ([*then("Relu"), helper.make_node("Tanh", ["y"], ["z"])], "may have one activation"),
        ([matmul("w", "x")], "x times weights"),
        ([matmul("x", "text")], "must be of floats"),
        ([helper.make_node("MatMul", ["x", "w"], [])], "has no output"),
        ([matmul("x", "w")], "its output is not"),
        ([helper.make_node("Constant", [], ["w"], value_float=1.0), matmul("x", "w")], "must be a tensor"),
    ],
)
def test_an_onnx_graph_that_is_no_chain_is_refused(nodes: list[Any], said: str) -> None:
    """The error names the node that can't be imported."""
    constants = {"w": W1, "w2": W2, "text": np.array([["a"]], object)}
    with pytest.raises(WeightsFileError, match=said):
        from_onnx(model_of(nodes, constants), None, Limits())


def test_several_inputs_or_outputs_are_refused() -> None:
    """A graph that takes two values or gives two is no chain."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in ("x", "y")]
    with pytest.raises(WeightsFileError, match="one input and one output"):
        from_onnx(model_of(then("Relu"), {"w": W1}, inputs=values), None, Limits())
    with pytest.raises(WeightsFileError, match="one input and one output"):
        from_onnx(model_of(then("Relu"), {"w": W1}, outputs=values), None, Limits())


@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../secret"])
def test_numbers_in_another_file_are_refused(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other file is opened, whatever its name is."""
    model = ModelProto.FromString(model_of(then("Relu"), {"w": W1}))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(StringStringEntryProto(key="location", value=location))
    monkeypatch.setattr("builtins.open", lambda *given, **more: pytest.fail(f"opened {given}"))
    with pytest.raises(WeightsFileError, match="in another file"):
        from_onnx(model.SerializeToString(), None, Limits())


def test_a_tensor_that_lies_about_its_shape_is_refused() -> None:
    """A file of a few bytes can't claim to be gigabytes."""
    for dims in ([65_536, 65_536], [-1, -1], [3, 6], [2**62, 4]):
        model = ModelProto.FromString(model_of(then("Relu"), {"w": W1}))
        model.graph.initializer[0].dims[:] = dims
        with pytest.raises(WeightsFileError, match="not have the number of values"):
            from_onnx(model.SerializeToString(), None, Limits())


def test_nodes_are_counted_before_the_file_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million empty nodes are refused by their count: parsed, their 20 MB take 1.5 GB."""
    monkeypatch.setattr("worker.networks.onnx.reader.onnx.load_from_string", lambda _: pytest.fail("was parsed"))
    graph = b"\x0a\x00" * 10_000_000
    length = b"".join(bytes([len(graph) >> shift & 127 | 128]) for shift in (0, 7, 14)) + bytes([len(graph) >> 21])
    with pytest.raises(WeightsFileError, match="more than 100000 nodes and constants"):
        from_onnx(b"\x08\x08\x3a" + length + graph, None, Limits())
