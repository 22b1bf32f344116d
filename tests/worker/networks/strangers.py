"""Networks from elsewhere, as state_dicts, ONNX graphs and files of ours, for the tests of imports."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from safetensors import numpy as safetensors

from tests.worker.networks.networks import MIXED, mixed, published, safetensors_of, trained
from worker.networks.onnx.reader import from_onnx
from worker.networks.predictor import Prediction, Predictor
from worker.networks.safetensors import from_safetensors
from worker.networks.trained import Trained
from worker.settings import Limits
from worker.specs.imports import Description

GENERATOR = np.random.default_rng(4)
X = GENERATOR.normal(size=(20, 3))
W1, W2 = GENERATOR.normal(size=(3, 5)).astype(np.float32), GENERATOR.normal(size=(5, 2)).astype(np.float32)
B1, B2 = GENERATOR.normal(size=5).astype(np.float32), GENERATOR.normal(size=2).astype(np.float32)
STATE = {"0.weight": W1.T.copy(), "0.bias": B1, "2.weight": W2.T.copy(), "2.bias": B2}


def predicted(imported: Trained, rows: Any = None) -> Prediction:
    return Predictor(imported).predict_rows((X if rows is None else rows).tolist())


def state_dict(**description: Any) -> Trained:
    said = Description.model_validate(description) if description else None
    return from_safetensors(safetensors.save(STATE), said, Limits())


def model_of(nodes: list[Any], constants: dict[str, Any], **graph: Any) -> bytes:
    """Return an ONNX file of a graph from x to y."""
    given = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", None]) for name in ("x", "y")]
    built = helper.make_graph(nodes, "g", graph.get("inputs", values[:1]), graph.get("outputs", values[1:]), given)
    content: bytes = helper.make_model(built, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()
    return content


def imported_onnx(nodes: list[Any], constants: dict[str, Any] | None = None, **description: Any) -> Trained:
    said = Description.model_validate(description) if description else None
    return from_onnx(model_of(nodes, constants or {"w": W2[:3]}), said, Limits())


ACTIVE = Description(activations=("relu", "softmax"))


def own(change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]) -> bytes:
    """Return our own file of a trained network, with a change to its network, encoders or arrays."""
    layers = [{"type": "embedding", "column": "kind", "dimensions": 2}, {"type": "dense", "units": 3}]
    of: Trained = trained(mixed(network={"layers": layers}), MIXED)
    content = safetensors_of(published(of))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    documents = {"layers": json.loads(header["network"])}, json.loads(header["encoders"]), dict(of.arrays)
    change(*documents)
    network, encoders, arrays = documents
    metadata = header | {"network": json.dumps(network["layers"]), "encoders": json.dumps(encoders)}
    return safetensors.save(arrays, metadata)


def matmul(*inputs: str, **attributes: Any) -> Any:
    return helper.make_node("MatMul", list(inputs), ["p"], name="first", **attributes)


def then(operator: str, *more: str, **attributes: Any) -> list[Any]:
    return [matmul("x", "w"), helper.make_node(operator, ["p", *more], ["y"], name="second", **attributes)]
