"""Layers as they are asked for -> as they will be built, nothing left open -> a network."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

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

LAYERS: TypeAdapter[list[specs.ResolvedLayer]] = TypeAdapter(list[specs.ResolvedLayer])


def resolve_layers(spec: Job, task: Task, columns: Sequence[InputColumn]) -> list[specs.ResolvedLayer]:
    """The layers as they will be built, the output layer last. Raises SpecError."""
    output = specs.ResolvedDense(
        type="dense",
        units=task.outputs,
        activation=task.activation,
        initializer=spec.network.output.initializer,
    )
    embeddings = [layer for layer in spec.network.layers if isinstance(layer, specs.EmbeddingLayer)]
    for n, layer in enumerate(spec.network.layers[: len(embeddings)]):
        if not isinstance(layer, specs.EmbeddingLayer):
            raise SpecError(f"/network/layers/{n}", "must come after the embeddings")
    others = spec.network.layers[len(embeddings) :]
    resolved = [*resolve_embeddings(embeddings, columns), *(_resolved(layer) for layer in others), _resolved(output)]
    _check_residuals(resolved, sum(column.width for column in columns))
    return resolved


def resolve_embeddings(
    layers: Sequence[specs.EmbeddingLayer], columns: Sequence[InputColumn]
) -> list[specs.ResolvedEmbedding]:
    """Each with the place and the number of its column's categories. Raises SpecError."""
    # what each input of the next layer is: a column's name, or nothing that an embedding could ask for
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


def _resolved(layer: Any) -> Any:
    if isinstance(layer, specs.ResidualLayer):
        return layer.model_copy(update={"layers": tuple(_resolved(inner) for inner in layer.layers)})
    if not isinstance(layer, specs.DenseLayer):
        return layer
    return specs.ResolvedDense(**layer.model_dump() | {"initializer": _initializer(layer)})


def _initializer(layer: Any) -> str:
    """Its name; that of a file from elsewhere may still be `auto`."""
    if layer.initializer != "auto":
        return str(layer.initializer)
    return ACTIVATIONS[layer.activation].initializer


def _check_residuals(layers: Sequence[specs.ResolvedLayer], inputs: int) -> None:
    for n, layer in enumerate(layers):
        if isinstance(layer, specs.ResidualLayer):
            units = inputs
            for inner in layer.layers:
                units = units_after(inner, units)
            if units != inputs:
                raise SpecError(
                    f"/network/layers/{n}/layers/{len(layer.layers) - 1}",
                    f"ends the block with {units} units; {inputs} enter it",
                )
        inputs = units_after(layer, inputs)


def units_after(layer: Any, inputs: int) -> int:
    """How many units leave a layer that so many enter."""
    if isinstance(layer, specs.DenseLayer):
        return layer.units
    return inputs - 1 + layer.dimensions if isinstance(layer, specs.EmbeddingLayer) else inputs


def build_network(layers: Sequence[specs.ResolvedLayer], inputs: int) -> Network:
    """The network of resolved layers."""
    return Network(_built(layers, inputs))


def _built(layers: Sequence[Any], inputs: int) -> list[Layer]:
    built: list[Layer] = []
    for layer in layers:
        built.append(_layer(layer, inputs))
        inputs = built[-1].units
    return built


def _layer(layer: Any, inputs: int) -> Layer:
    match layer:
        case specs.DropoutLayer():
            return Dropout(inputs, layer.rate)
        case specs.BatchNormLayer():
            return BatchNorm(inputs, ACTIVATIONS[layer.activation], layer.momentum, layer.epsilon)
        case specs.LayerNormLayer():
            return LayerNorm(inputs, ACTIVATIONS[layer.activation], layer.epsilon)
        case specs.ResidualLayer():
            return Residual(_built(layer.layers, inputs))
        case specs.ResolvedEmbedding():
            return Embedding(inputs, layer.position, layer.categories, layer.dimensions)
        case _:
            return Dense(inputs, layer.units, ACTIVATIONS[layer.activation], INITIALIZERS[_initializer(layer)])
