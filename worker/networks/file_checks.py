"""Checks of a network from a client's file: its layers, encoders and arrays must fit each other, within the limits."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from worker.backprop.activations import Sigmoid, Softmax
from worker.backprop.array_names import count_members, name_in_layer, name_in_member
from worker.backprop.arrays import Floats
from worker.backprop.network import Network
from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, NumberTarget, NumericCode
from worker.data.fitting import QUANTILES
from worker.data.readers import CELL_BYTES_LIMIT, check_names
from worker.errors import DataError, ShapeError, SpecError, WeightsFileError
from worker.networks.layers import LAYERS_LIMIT, build_network, resolve_embeddings
from worker.networks.trained import Trained
from worker.settings import Limits
from worker.specs.encoding import BINS
from worker.specs.network import EmbeddingLayer, ResolvedEmbedding, ResolvedLayer

MEMBERS_LIMIT = 64


def checked(
    layers: Sequence[ResolvedLayer], encoders: Encoders, arrays: Mapping[str, Floats], limits: Limits
) -> Trained:
    """Return the network if its parts fit each other. Raises WeightsFileError.

    Nothing is allocated on a file's word: shapes are first compared with the arrays, which are already in memory.
    """
    network = check_architecture(layers, encoders, limits)
    _check_shapes(network, arrays, limits)
    _check_numbers(arrays)
    if isinstance(encoders.target, ClassTarget) and not isinstance(network.output.activation, Softmax | Sigmoid):
        raise WeightsFileError("a network of classes must end in softmax or sigmoid, which give probabilities")
    return Trained(layers, encoders, arrays)


def check_architecture(layers: Sequence[ResolvedLayer], encoders: Encoders, limits: Limits) -> Network:
    """Return the network of these layers, without weights, if they fit the encoders. Raises WeightsFileError."""
    if not 1 <= len(layers) <= LAYERS_LIMIT:
        raise WeightsFileError(f"must have 1 to {LAYERS_LIMIT} layers, got {len(layers)}")
    _check_features(encoders, limits)
    try:
        _check_embeddings(layers, encoders)
        network = build_network(layers, encoders.width)
    except (ShapeError, SpecError) as error:
        raise WeightsFileError(f"the layers do not fit together: {error}") from error
    _check_target(encoders, network)
    return network


def _check_features(encoders: Encoders, limits: Limits) -> None:
    if not 1 <= len(encoders.features) <= limits.columns:
        raise WeightsFileError(f"must have 1 to {limits.columns} features, got {len(encoders.features)}")
    try:
        check_names([code.name for code in encoders.features])
    except DataError as error:
        raise WeightsFileError(f"the features: {error}") from error
    for code in encoders.features:
        fits = _numbers_fit(code) if isinstance(code, NumericCode) else _categories_fit(code, limits)
        if not fits:
            raise WeightsFileError(f"the encoder of {code.name[:64]!r} can't be used")


def _numbers_fit(code: NumericCode) -> bool:
    numbers = [code.median, code.mean, code.scale, code.minimum or 0.0, code.maximum or 0.0]
    numbers += [
        *code.quantiles,
        *code.shares,
        *code.bins,
        *(1 / period if period else np.inf for period in code.cycles),
    ]
    ascending = all(a < b for edges in (code.quantiles, code.bins) for a, b in pairwise(edges))
    few = len(code.quantiles) == len(code.shares) <= QUANTILES and len(code.bins) <= BINS + 1 and len(code.cycles) <= 3
    positive = code.scale > 0 and all(period >= 1 for period in code.cycles)
    return bool(np.isfinite(numbers).all()) and positive and ascending and few


def _categories_fit(code: CategoricalCode, limits: Limits) -> bool:
    every = (*code.categories, *code.rare)
    known = set(every)
    if not _texts_fit(every):
        return False
    frequent = code.most_frequent is None or code.most_frequent in known
    return (
        len(known) == len(every) <= limits.categories and 1 <= code.category_count <= limits.categories + 1 and frequent
    )


def _texts_fit(texts: Sequence[str]) -> bool:
    return all(len(text) <= CELL_BYTES_LIMIT and "\0" not in text for text in texts)


def _check_embeddings(layers: Sequence[ResolvedLayer], encoders: Encoders) -> None:
    """Raise WeightsFileError unless embeddings come first and take the columns that they name.

    Only then is a category's number always a row of its embedding.
    """
    first = [layer for layer in layers if isinstance(layer, ResolvedEmbedding)]
    asked = [EmbeddingLayer(type="embedding", column=layer.column, dimensions=layer.dimensions) for layer in first]
    embedded = {code.name for code in encoders.features if isinstance(code, CategoricalCode) and code.embedded}
    if list(layers[: len(first)]) != resolve_embeddings(asked, encoders.columns):
        raise WeightsFileError("the embeddings do not fit the columns that they name")
    if {layer.column for layer in first} != embedded:
        raise WeightsFileError("the embeddings do not name the embedded columns")


def _check_target(encoders: Encoders, network: Network) -> None:
    target = encoders.target
    if isinstance(target, ClassTarget):
        units = {len(target.classes)} | ({1} if len(target.classes) == 2 else set())
        fits = (
            _texts_fit([target.name, *target.classes])
            and network.outputs in units
            and len(set(target.classes)) == len(target.classes) > 1
        )
    else:
        fits = _texts_fit(target.names) and network.outputs == len(target.names) == len(set(target.names))
    if isinstance(target, NumberTarget):
        fits = fits and len(target.means) == len(target.scales) == len(target.names)
        fits = fits and bool(np.isfinite([*target.means, *target.scales]).all())
    if not fits:
        raise WeightsFileError(f"the target does not fit the {network.outputs} units of the output layer")


def _check_shapes(network: Network, arrays: Mapping[str, Floats], limits: Limits) -> None:
    shapes = {
        name_in_layer(n, name): shape for n, one in enumerate(network.layers) for name, shape in one.shapes.items()
    }
    members = count_members(arrays)
    if members is not None:
        if members > MEMBERS_LIMIT:
            raise WeightsFileError(f"an ensemble has at most {MEMBERS_LIMIT} members")
        shapes = {name_in_member(n, name): shape for n in range(members) for name, shape in shapes.items()}
    size = sum(map(prod, shapes.values()))
    if size > limits.parameters:
        raise WeightsFileError(f"has {size} parameters; the limit is {limits.parameters}")
    for name in sorted(shapes.keys() | arrays.keys()):
        needed, given = shapes.get(name), arrays[name].shape if name in arrays else None
        if needed != given:
            raise WeightsFileError(f"{name[:64]} must be {needed or 'absent'}, got {given or 'nothing'}")


def _check_numbers(arrays: Mapping[str, Floats]) -> None:
    """Raise WeightsFileError unless all arrays have the same precision and finite numbers."""
    if len({array.dtype for array in arrays.values()}) != 1:
        raise WeightsFileError("all arrays must be of one precision, float32 or float64")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsFileError(f"{name[:64]} has numbers that are not finite")
        if name.endswith(".variance") and (array < 0).any():
            raise WeightsFileError(f"{name[:64]} has a negative variance")
