"""The layers as ONNX nodes in inference mode: x -> a, both (rows, units), or (members, rows, units) in an ensemble."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import numpy as np
from onnx import TensorProto

from worker.backprop.array_names import layer_name, of_layer
from worker.backprop.arrays import Floats
from worker.backprop.parameters import Parameters
from worker.networks.layers import units_after
from worker.networks.onnx.activations import add_activation
from worker.networks.onnx.graph import Graph
from worker.specs import network as specs


def add_layers(
    graph: Graph, layers: Sequence[specs.ResolvedLayer], parameters: Parameters, x: str, *, inputs: int
) -> str:
    """Return the name of the output layer's a. inputs: the width of x."""
    if parameters.members is not None:
        # each member has its own copy of x, and one product serves all of them
        shape = graph.constant("members", [parameters.members, 1, 1], np.int64)
        x = graph.add("Expand", x, shape, named="x of members")
    for n, (layer, arrays) in enumerate(zip(layers, parameters.views, strict=True)):
        x = _add_layer(graph, layer, _Place(graph, layer_name(n), arrays), x, inputs)
        inputs = units_after(layer, inputs)
    return x


class _Place:
    """Where a layer is in the network: its name, such as `layers.0`, and its arrays by their names within it."""

    def __init__(self, graph: Graph, name: str, arrays: Mapping[str, Floats]) -> None:
        self.graph, self.name, self.arrays = graph, name, arrays

    def add(self, operator: str, *inputs: str, named: str, **attributes: Any) -> str:
        """Add a node of this layer."""
        return self.graph.add(operator, *inputs, named=f"{self.name}/{named}", **attributes)

    def matrix(self, name: str) -> str:
        """Add an array as a constant with its name in a weights file, by which an import finds it."""
        return self.graph.constant(f"{self.name}.{name}", self.arrays[name])

    def row(self, name: str) -> str:
        """Add an array (..., units) in the same way, as (..., 1, units), which broadcasts over rows."""
        return self.graph.constant(f"{self.name}.{name}", self.arrays[name][..., None, :])


def _add_layer(graph: Graph, layer: specs.ResolvedLayer, place: _Place, x: str, inputs: int) -> str:
    match layer:
        case specs.ResolvedDense():
            z = _weighted_sum(place, x)
        case specs.BatchNormLayer():
            z = _stretched(place, _over_batches(place, layer, x))
        case specs.LayerNormLayer():
            z = _stretched(place, _over_units(place, layer, x))
        case specs.DropoutLayer():
            return x
        case specs.ResolvedResidual():
            return _residual(graph, layer, place, x, inputs)
        case specs.ResolvedEmbedding():
            return _embedding(layer, place, x, inputs)
        case _:
            assert_never(layer)
    return add_activation(graph, layer.activation, z, f"{place.name}/a")


def _weighted_sum(place: _Place, x: str) -> str:
    """z = x w + b."""
    return place.add("Add", place.add("MatMul", x, place.matrix("w"), named="xw"), place.row("b"), named="z")


def _over_batches(place: _Place, layer: specs.BatchNormLayer, x: str) -> str:
    """n = (x - mean) / sqrt(variance + epsilon), by the running figures."""
    centred = place.add("Sub", x, place.row("mean"), named="centred")
    return _divided(place, centred, place.row("variance"), layer.epsilon)


def _over_units(place: _Place, layer: specs.LayerNormLayer, x: str) -> str:
    """n = (x - mean) / sqrt(variance + epsilon), over the units of each row."""
    mean = place.add("ReduceMean", x, named="mean", axes=[-1])
    centred = place.add("Sub", x, mean, named="centred")
    square = place.add("Mul", centred, centred, named="square")
    variance = place.add("ReduceMean", square, named="variance", axes=[-1])
    return _divided(place, centred, variance, layer.epsilon)


def _divided(place: _Place, centred: str, variance: str, epsilon: float) -> str:
    more = place.add("Add", variance, place.graph.number(epsilon), named="more")
    return place.add("Div", centred, place.add("Sqrt", more, named="deviation"), named="n")


def _stretched(place: _Place, n: str) -> str:
    """z = scale n + shift."""
    return place.add("Add", place.add("Mul", n, place.row("scale"), named="scaled"), place.row("shift"), named="z")


def _residual(graph: Graph, block: specs.ResolvedResidual, place: _Place, x: str, inputs: int) -> str:
    """a = x + layers(x)."""
    a = x
    for n, layer in enumerate(block.layers):
        inner = _Place(graph, f"{place.name}.{layer_name(n)}", of_layer(place.arrays, n))
        a = _add_layer(graph, layer, inner, a, inputs)
        inputs = units_after(layer, inputs)
    return place.add("Add", x, a, named="a")


def _embedding(layer: specs.ResolvedEmbedding, place: _Place, x: str, inputs: int) -> str:
    """Place the category's row of w after the other inputs."""
    graph = place.graph
    one, axis = x, 0
    if place.arrays["w"].ndim > 2:
        # a category is the same for every member
        one, axis = place.add("Gather", x, graph.constant("first", 0, np.int64), named="one", axis=0), 1
    position = graph.constant(f"{place.name}.position", layer.position, np.int64)
    column = place.add("Gather", one, position, named="column", axis=-1)
    number = place.add("Cast", column, named="number", to=TensorProto.INT64)
    point = place.add("Gather", place.matrix("w"), number, named="point", axis=axis)
    others = [n for n in range(inputs) if n != layer.position]
    if not others:
        # some runtimes refuse an empty array
        return point
    kept = place.add("Gather", x, graph.constant(f"{place.name}.kept", others, np.int64), named="others", axis=-1)
    return place.add("Concat", kept, point, named="a", axis=-1)
