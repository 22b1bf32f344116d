"""Dense layers from another library's file, with the client's description -> a trained network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from worker.backprop.array_names import name_in_layer
from worker.backprop.arrays import Floats
from worker.data.encoders import ClassTarget, Encoders, LabelsTarget, NumberTarget, NumericCode, Target
from worker.errors import SpecError, WeightsFileError
from worker.networks.file_checks import checked
from worker.networks.trained import Trained
from worker.settings import Limits
from worker.specs.imports import Description
from worker.specs.network import Activation, ResolvedDense

UNITS_LIMIT = 65_536


class DenseFound(NamedTuple):
    """A dense layer that was found in a file: z = x w + b, a = f(z).

    name: the file's name for the layer, for messages.
    w: (inputs, units).
    b: (units,).
    activation: the name of f.
    """

    name: str
    w: Floats
    b: Floats
    activation: Activation


def from_chain(found: Sequence[DenseFound], description: Description, limits: Limits) -> Trained:
    """Return the network that passes a row through these layers in order.

    Raises WeightsFileError if the layers do not fit each other, SpecError if the description does not fit them.
    """
    _check_chain(found)
    activation = _output_activation(found[-1], description)
    activations = [*(layer.activation for layer in found[:-1]), activation]
    dtype = np.result_type(np.float32, *(array for layer in found for array in (layer.w, layer.b)))
    arrays: dict[str, Floats] = {}
    layers = []
    for n, (layer, name) in enumerate(zip(found, activations, strict=True)):
        # a float16 becomes the float32 of the same value
        for part, array in (("w", layer.w), ("b", layer.b)):
            arrays[name_in_layer(n, part)] = array.astype(dtype, copy=False)
        units = layer.w.shape[1]
        layers.append(ResolvedDense(type="dense", units=units, activation=name, initializer="glorot_uniform"))
    names = _names(description.features, found[0].w.shape[0], "x", "/features", limits.columns)
    features = tuple(NumericCode(name=name, median=0.0, mean=0.0, scale=1.0) for name in names)
    target = _target(activation, found[-1].w.shape[1], description)
    return checked(layers, Encoders(features=features, target=target), arrays, limits)


def _check_chain(found: Sequence[DenseFound]) -> None:
    if not found:
        raise WeightsFileError("has no dense layer")
    inputs = None
    for layer in found:
        if layer.w.ndim != 2 or not 1 <= layer.w.shape[1] <= UNITS_LIMIT or not layer.w.shape[0]:
            raise WeightsFileError(f"{layer.name[:64]} must be a matrix, of at most {UNITS_LIMIT} units")
        if inputs is not None and layer.w.shape[0] != inputs:
            raise WeightsFileError(f"{layer.name[:64]} takes {layer.w.shape[0]} inputs; {inputs} units come before it")
        if layer.b.shape != layer.w.shape[1:]:
            raise WeightsFileError(f"the bias of {layer.name[:64]} must be {layer.w.shape[1:]}, got {layer.b.shape}")
        inputs = layer.w.shape[1]


def _output_activation(output: DenseFound, description: Description) -> Activation:
    """Return the activation of the output layer. Logits of classes get the activation that makes them probabilities."""
    if description.classes is None or output.activation != "identity":
        return output.activation
    return "sigmoid" if output.w.shape[1] == 1 else "softmax"


def _names(given: Sequence[str] | None, count: int, letter: str, pointer: str, limit: int) -> tuple[str, ...]:
    """Return the client's names; if there are none, a letter and a number for each."""
    if count > limit:
        raise WeightsFileError(f"has {count} columns; the limit is {limit}")
    if given is None:
        return tuple(f"{letter}{n}" for n in range(count))
    if len(given) != count:
        raise SpecError(pointer, f"must be {count} names, got {len(given)}")
    if len(set(given)) != count:
        raise SpecError(pointer, "has a name twice")
    return tuple(given)


def _target(activation: Activation, units: int, description: Description) -> Target:
    """Return the target that the output layer predicts. Raises SpecError if the description names another kind."""
    of_classes = activation == "softmax" or (activation == "sigmoid" and units == 1)
    if not of_classes and description.classes is not None:
        raise SpecError("/classes", f"need softmax, or one sigmoid unit, as output layer; this one is {activation}")
    if of_classes and description.targets is not None:
        raise SpecError("/targets", f"are labels or numbers; a {activation} output layer predicts classes")
    if of_classes:
        count = 2 if units == 1 and activation == "sigmoid" else units
        given = description.classes
        classes = tuple(map(str, range(count))) if given is None else _names(given, count, "", "/classes", count)
        return ClassTarget(name="class", classes=classes)
    names = _names(description.targets, units, "y", "/targets", units)
    if activation == "sigmoid":
        return LabelsTarget(names=names)
    return NumberTarget(names=names, means=(0.0,) * units, scales=(1.0,) * units)
