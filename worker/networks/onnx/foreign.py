"""Reads another library's graph: a chain of dense layers, each a Gemm, or MatMul and Add, with an activation.

Nothing is run, and no other file is opened. A node of any other kind is refused by its name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from worker.backprop.activations import Elu, LeakyRelu, Selu
from worker.backprop.arrays import Floats
from worker.errors import WeightsFileError
from worker.networks.dense_chain import DenseFound
from worker.networks.layers import LAYERS_LIMIT
from worker.specs.network import Activation

Attributes = Mapping[str, Any]

NODES_LIMIT = 8 * LAYERS_LIMIT
FLOATS = (TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE)

# by ONNX's operator: our name, and the values that its attributes must have. An absent attribute has this value too,
# unless it is in ONNX_DEFAULTS
ACTIVATIONS: dict[str, tuple[Activation, Attributes]] = {
    "Relu": ("relu", {}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("sigmoid", {}),
    "Softplus": ("softplus", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": LeakyRelu.slope}),
    "Elu": ("elu", {"alpha": Elu.alpha}),
    "Selu": ("selu", {"alpha": Selu.alpha, "gamma": Selu.scale}),
    "Gelu": ("gelu", {"approximate": b"tanh"}),
    "Softmax": ("softmax", {"axis": -1}),
}
ONNX_DEFAULTS = {"approximate": b"none"}
"ONNX's value for an attribute that is left out, where it differs from ours."

IGNORED = ("Identity", "Flatten", "Dropout")
"These do not change rows of numbers at prediction."


class Chain:
    """The dense layers on the only path from the graph's input to its output. found: these layers, in order."""

    def __init__(self, graph: GraphProto, parameters_limit: int) -> None:
        self.parameters_left = parameters_limit
        if not graph.node or len(graph.node) > NODES_LIMIT:
            raise WeightsFileError(f"its graph must have 1 to {NODES_LIMIT} nodes, got {len(graph.node)}")
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.found: list[DenseFound] = []
        inputs = [given.name for given in graph.input if given.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise WeightsFileError("its graph must have one input and one output")
        self.value = inputs[0]
        # whether a bias or an activation may still be added to the last layer
        self.open = False
        for position, node in enumerate(graph.node):
            self._take(node, f"node {position} ({node.op_type[:32]} {node.name[:64]!r})")
        if self.value != graph.output[0].name:
            raise WeightsFileError("its output is not the output of its last node")

    def _take(self, node: NodeProto, named: str) -> None:
        if node.op_type == "Constant":
            self._keep_constant(node, named)
            return
        if node.domain not in ("", "ai.onnx"):
            raise WeightsFileError(f"{named} is of another domain; only ONNX's own operators can be imported")
        if list(node.input).count(self.value) != 1:
            raise WeightsFileError(f"{named} is not on the only path from the input to the output")
        if not node.output:
            raise WeightsFileError(f"{named} has no output")
        attributes = _attributes(node, named)
        if node.op_type in ("Gemm", "MatMul"):
            self._dense(node, named, attributes)
        elif node.op_type == "Add":
            self._bias(node, named)
        elif node.op_type in ACTIVATIONS:
            self._activation(node, named, attributes)
        elif node.op_type not in IGNORED or attributes.get("axis", 1) != 1:
            known = ", ".join(["Gemm", "MatMul", "Add", *ACTIVATIONS, *IGNORED])
            raise WeightsFileError(f"{named} can't be imported; these can: {known}")
        self.value = node.output[0]

    def _dense(self, node: NodeProto, named: str, attributes: Attributes) -> None:
        if node.input[0] != self.value or attributes.get("transA", 0):
            raise WeightsFileError(f"{named} must be x times weights")
        w = self._array(node.input[1] if len(node.input) > 1 else "", named)
        w = w.T if attributes.get("transB", 0) else w
        units = w.shape[-1] if w.ndim else 0
        # many layers may share one matrix, so a small file could fill the memory
        self.parameters_left -= w.size + units
        if self.parameters_left < 0:
            raise WeightsFileError(f"has too many parameters: {named} is past the limit")
        # alpha, beta and a bias belong to Gemm; MatMul has none of them
        w = w * w.dtype.type(_number(attributes, "alpha", named))
        b: Floats = np.zeros(units, w.dtype)
        if len(node.input) > 2 and node.input[2]:
            given = self._array(node.input[2], named)
            b = self._row(given * given.dtype.type(_number(attributes, "beta", named)), units, named)
        self.found.append(DenseFound(named, w, b, "identity"))
        self.open = True

    def _bias(self, node: NodeProto, named: str) -> None:
        if not self.open:
            raise WeightsFileError(f"{named} must follow a Gemm or a MatMul")
        other = next(name for name in node.input if name != self.value)
        layer = self.found[-1]
        b = self._row(self._array(other, named), layer.w.shape[-1], named)
        both: Floats = layer.b + b
        self.found[-1] = layer._replace(b=both)

    def _activation(self, node: NodeProto, named: str, attributes: Attributes) -> None:
        name, ours = ACTIVATIONS[node.op_type]
        given = {each: attributes.get(each, ONNX_DEFAULTS.get(each, value)) for each, value in ours.items()}
        # an array of rows has two axes, so axis 1 is the last
        given = {each: -1 if (each, value) == ("axis", 1) else value for each, value in given.items()}
        if not all(_alike(given[each], value) for each, value in ours.items()):
            needed = ", ".join(f"{each}={value}" for each, value in ours.items())
            raise WeightsFileError(f"{named} differs from our {name}, which has {needed}")
        if not self.open:
            raise WeightsFileError(f"{named} must follow a dense layer, which may have one activation")
        self.found[-1] = self.found[-1]._replace(activation=name)
        self.open = False

    def _keep_constant(self, node: NodeProto, named: str) -> None:
        tensor = next((given.t for given in node.attribute if given.name == "value"), None)
        if tensor is None or len(node.output) != 1:
            raise WeightsFileError(f"{named} must be a tensor")
        self.constants[node.output[0]] = tensor

    def _array(self, name: str, named: str) -> Floats:
        tensor = self.constants.get(name)
        if tensor is None:
            raise WeightsFileError(f"{named} must have constant weights")
        return read_floats(tensor)

    def _row(self, b: Floats, units: int, named: str) -> Floats:
        """Return b as (units,); it may have been (1, units)."""
        if b.size != units or b.shape[:-1] not in ((), (1,)):
            raise WeightsFileError(f"{named} must add {units} numbers, got {b.shape}")
        return b.reshape(units)


def read_floats(tensor: TensorProto) -> Floats:
    """Return a constant's numbers, float16 as float32. Raises WeightsFileError.

    The numbers must be in this file: to read them from another, we would have to open a path that a client chose.
    """
    name = tensor.name[:64]
    if uses_external_data(tensor):
        raise WeightsFileError(f"the numbers of {name!r} are in another file; they must be in this one")
    if tensor.data_type not in FLOATS:
        raise WeightsFileError(f"{name!r} must be of floats")
    try:
        array: Floats = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise WeightsFileError(f"{name!r} does not have the number of values that its shape needs") from error
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _attributes(node: NodeProto, named: str) -> Attributes:
    """Return the attributes by name. Only numbers and texts occur in the operators that can be imported."""
    for given in node.attribute:
        if given.type not in (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING):
            raise WeightsFileError(f"{named} has an attribute that is neither a number nor text")
    return {given.name: helper.get_attribute_value(given) for given in node.attribute}


def _number(attributes: Attributes, name: str, named: str) -> float:
    value = attributes.get(name, 1.0)
    if not isinstance(value, float | int):
        raise WeightsFileError(f"{named} must have a number as {name}")
    return value


def _alike(given: Any, ours: Any) -> bool:
    """Return whether two values are equal, numbers to the precision of float32, in which attributes are stored."""
    if isinstance(given, float) and isinstance(ours, float):
        return abs(given - ours) <= 1e-6 * abs(ours)
    return bool(given == ours)
