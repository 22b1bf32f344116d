"""The layers that a specification asks for -> resolved layers, with every choice made -> a network."""

from collections.abc import Sequence
from typing import Annotated, assert_never

from pydantic import Field, TypeAdapter

from worker.backprop.activations import ACTIVATIONS
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.dropout import Dropout
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.network import Network
from worker.data.roles import InputColumn
from worker.errors import SpecError
from worker.networks.task import Task
from worker.specs import network as specs
from worker.specs.job import Job

LAYERS_LIMIT = 257
"The most layers of a network: those that a client may ask for, and the output layer."
LAYERS: TypeAdapter[list[specs.ResolvedLayer]] = TypeAdapter(
    Annotated[list[specs.ResolvedLayer], Field(max_length=LAYERS_LIMIT)]
)


def resolve_layers(spec: Job, task: Task, columns: Sequence[InputColumn]) -> list[specs.ResolvedLayer]:
    """Return the layers as they will be built, the output layer last. Raises SpecError."""
    embeddings = [layer for layer in spec.network.layers if isinstance(layer, specs.EmbeddingLayer)]
    for n, layer in enumerate(spec.network.layers[: len(embeddings)]):
        if not isinstance(layer, specs.EmbeddingLayer):
            raise SpecError(f"/network/layers/{n}", "must come after the embeddings")
    others = [layer for layer in spec.network.layers if not isinstance(layer, specs.EmbeddingLayer)]
    output = specs.ResolvedDense(
        type="dense",
        units=task.outputs,
        activation=task.activation,
        initializer=spec.network.output.initializer,
    )
    resolved = [*resolve_embeddings(embeddings, columns), *map(_resolve, others), _resolve_inner(output)]
    _check_residuals(resolved, sum(column.width for column in columns))
    return resolved


def resolve_embeddings(
    layers: Sequence[specs.EmbeddingLayer], columns: Sequence[InputColumn]
) -> list[specs.ResolvedEmbedding]:
    """Return each embedding with the position of its input and the number of its categories. Raises SpecError."""
    # the inputs of the next layer: the name of a categorical column, or "" for what no embedding can take
    inputs = [column.name if column.categories is not None else "" for column in columns for _ in range(column.width)]
    found = []
    for n, layer in enumerate(layers):
        column = next((column for column in columns if column.name == layer.column), None)
        if column is None or column.categories is None:
            raise SpecError(f"/network/layers/{n}/column", "must be a categorical feature")
        if layer.column not in inputs:
            raise SpecError(f"/network/layers/{n}/column", "has an embedding already")
        position = inputs.index(layer.column)
        found.append(specs.ResolvedEmbedding(**layer.model_dump(), position=position, categories=column.categories))
        inputs = [*inputs[:position], *inputs[position + 1 :], *[""] * layer.dimensions]
    return found


def _resolve(layer: specs.InnerLayer | specs.ResidualLayer) -> specs.ResolvedLayer:
    if isinstance(layer, specs.ResidualLayer):
        return specs.ResolvedResidual(type="residual", layers=tuple(map(_resolve_inner, layer.layers)))
    return _resolve_inner(layer)


def _resolve_inner(layer: specs.InnerLayer) -> specs.ResolvedInnerLayer:
    match layer:
        case specs.DenseLayer():
            return specs.ResolvedDense(**layer.model_dump() | {"initializer": _initializer(layer)})
        case specs.DropoutLayer() | specs.BatchNormLayer() | specs.LayerNormLayer():
            return layer
        case _:
            assert_never(layer)


def _initializer(layer: specs.DenseLayer) -> str:
    """Return the initializer's name. A layer from a client's file may still have `auto`."""
    if layer.initializer != "auto":
        return layer.initializer
    return ACTIVATIONS[layer.activation].initializer


def _check_residuals(layers: Sequence[specs.ResolvedLayer], inputs: int) -> None:
    for n, layer in enumerate(layers):
        if isinstance(layer, specs.ResolvedResidual):
            units = inputs
            for inner in layer.layers:
                units = units_after(inner, units)
            if units != inputs:
                raise SpecError(
                    f"/network/layers/{n}/layers/{len(layer.layers) - 1}",
                    f"ends the block with {units} units; {inputs} enter it",
                )
        inputs = units_after(layer, inputs)


def units_after(layer: specs.Layer | specs.ResolvedLayer, inputs: int) -> int:
    """Return how many units leave a layer. inputs: how many enter it."""
    match layer:
        case specs.DenseLayer():
            return layer.units
        case specs.EmbeddingLayer():
            return inputs - 1 + layer.dimensions
        case specs.DropoutLayer() | specs.BatchNormLayer() | specs.LayerNormLayer() | specs.ResidualLayer():
            return inputs
        case _:
            assert_never(layer)


def build_network(layers: Sequence[specs.ResolvedLayer], inputs: int) -> Network:
    """Return the network of these layers, without weights. inputs: the width of a row. Raises ShapeError."""
    return Network(_build_all(layers, inputs))


def _build_all(layers: Sequence[specs.ResolvedLayer], inputs: int) -> list[Layer]:
    built: list[Layer] = []
    for layer in layers:
        built.append(_build(layer, inputs))
        inputs = built[-1].units
    return built


def _build(layer: specs.ResolvedLayer, inputs: int) -> Layer:
    match layer:
        case specs.ResolvedDense():
            return Dense(inputs, layer.units, ACTIVATIONS[layer.activation], INITIALIZERS[_initializer(layer)])
        case specs.DropoutLayer():
            return Dropout(inputs, layer.rate)
        case specs.BatchNormLayer():
            return BatchNorm(inputs, ACTIVATIONS[layer.activation], layer.momentum, layer.epsilon)
        case specs.LayerNormLayer():
            return LayerNorm(inputs, ACTIVATIONS[layer.activation], layer.epsilon)
        case specs.ResolvedResidual():
            return Residual(_build_all(layer.layers, inputs))
        case specs.ResolvedEmbedding():
            return Embedding(inputs, layer.position, layer.categories, layer.dimensions)
        case _:
            assert_never(layer)
