"""The layers as ONNX nodes, in inference mode: x -> a, both (rows, units), or (members, rows, units) of an ensemble."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from worker.backprop.arrays import Floats
from worker.backprop.layers.dropout import Dropout
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters, Views
from worker.networks.onnx.activations import add_activation
from worker.networks.onnx.graph import Graph
from worker.specs import network as specs


def add_layers(
    graph: Graph, specifications: Sequence[specs.ResolvedLayer], network: Network, parameters: Parameters, x: str
) -> str:
    """The output layer's a."""
    if parameters.members is not None:
        # each member its own copy, and one product for all of them
        shape = graph.constant("members", [parameters.members, 1, 1], np.int64)
        x = graph.add("Expand", x, shape, named="x of members")
    for n, (spec, layer, views) in enumerate(zip(specifications, network.layers, parameters.views, strict=True)):
        x = _add_layer(graph, spec, layer, views, x, named=f"layers.{n}")
    return x


def _add_layer(graph: Graph, spec: Any, layer: Layer, views: Views, x: str, *, named: str) -> str:
    """spec says which activation, layer all else."""
    match layer:
        case Dropout():
            return x
        case Residual():
            return _residual(graph, spec, layer, views, x, named=named)
        case Embedding():
            return _embedding(graph, layer, views, x, named)
        case BatchNorm():
            z = _stretched(graph, views, _over_batches(graph, layer, views, x, named), named)
        case LayerNorm():
            z = _stretched(graph, views, _over_units(graph, layer, x, named), named)
        case _:
            z = _weighted_sum(graph, views, x, named)
    return add_activation(graph, spec.activation, z, f"{named}/a")


def _row(a: Floats) -> Floats:
    """(..., units) as (..., 1, units), which broadcasts over rows."""
    return a[..., None, :]


def _weighted_sum(graph: Graph, views: Views, x: str, named: str) -> str:
    """z = x w + b."""
    product = graph.add("MatMul", x, graph.constant(f"{named}.w", views["w"]), named=f"{named}/xw")
    return graph.add("Add", product, graph.constant(f"{named}.b", _row(views["b"])), named=f"{named}/z")


def _over_batches(graph: Graph, layer: BatchNorm, views: Views, x: str, named: str) -> str:
    """n = (x - mean) / deviation, by the running figures."""
    mean = graph.constant(f"{named}.mean", _row(views["mean"]))
    deviation = graph.constant(f"{named}.deviation", _row(np.sqrt(views["variance"] + layer.epsilon)))
    return graph.add("Div", graph.add("Sub", x, mean, named=f"{named}/centred"), deviation, named=f"{named}/n")


def _over_units(graph: Graph, layer: LayerNorm, x: str, named: str) -> str:
    """n = (x - mean) / sqrt(variance + epsilon), over the units of each row."""
    mean = graph.add("ReduceMean", x, named=f"{named}/mean", axes=[-1])
    centred = graph.add("Sub", x, mean, named=f"{named}/centred")
    square = graph.add("Mul", centred, centred, named=f"{named}/square")
    variance = graph.add("ReduceMean", square, named=f"{named}/variance", axes=[-1])
    more = graph.add("Add", variance, graph.number(layer.epsilon), named=f"{named}/more")
    return graph.add("Div", centred, graph.add("Sqrt", more, named=f"{named}/deviation"), named=f"{named}/n")


def _stretched(graph: Graph, views: Views, n: str, named: str) -> str:
    """z = scale n + shift."""
    scaled = graph.add("Mul", n, graph.constant(f"{named}.scale", _row(views["scale"])), named=f"{named}/scaled")
    return graph.add("Add", scaled, graph.constant(f"{named}.shift", _row(views["shift"])), named=f"{named}/z")


def _residual(graph: Graph, spec: specs.ResidualLayer, layer: Residual, views: Views, x: str, *, named: str) -> str:
    """a = x + layers(x)."""
    a = x
    for n, (inner, (part, own)) in enumerate(zip(spec.layers, layer.parts(views), strict=True)):
        a = _add_layer(graph, inner, part, own, a, named=f"{named}.layers.{n}")
    return graph.add("Add", x, a, named=f"{named}/a")


def _embedding(graph: Graph, layer: Embedding, views: Views, x: str, named: str) -> str:
    """The category's row of w stands behind the other inputs."""
    one, axis = x, 0
    if views["w"].ndim > 2:
        # a category is the same for every member
        one, axis = graph.add("Gather", x, graph.constant("first", 0, np.int64), named=f"{named}/one", axis=0), 1
    position = graph.constant(f"{named}.position", layer.position, np.int64)
    column = graph.add("Gather", one, position, named=f"{named}/column", axis=-1)
    number = graph.add("Cast", column, named=f"{named}/number", to=TensorProto.INT64)
    w = graph.constant(f"{named}.w", views["w"])
    point = graph.add("Gather", w, number, named=f"{named}/point", axis=axis)
    if not layer.kept:
        return point
    kept = graph.constant(f"{named}.kept", layer.kept, np.int64)
    others = graph.add("Gather", x, kept, named=f"{named}/others", axis=-1)
    return graph.add("Concat", others, point, named=f"{named}/a", axis=-1)
