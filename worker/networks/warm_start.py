"""Starting from another network's weights: what a job takes over from its source, and what must fit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from worker.backprop.array_names import layer_number
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Layer
from worker.data.cells import category_text
from worker.data.encoders import (
    CategoricalCode,
    ClassTarget,
    Code,
    Encoders,
    LabelsTarget,
    NumberTarget,
    NumericCode,
    Target,
)
from worker.data.roles import Feature, Roles
from worker.errors import SpecError
from worker.networks.layers import build_network
from worker.networks.task import Task
from worker.networks.trained import Architecture, Trained
from worker.specs.job import Job
from worker.specs.network import ResolvedLayer


def adopted_features(roles: Roles, source: Architecture) -> tuple[Code, ...] | None:
    """Return the source's encoders of these features; None unless they agree in name, type and order.

    Whether an unknown category is refused at prediction is this job's choice, not the source's.
    """
    codes = source.encoders.features
    if len(codes) != len(roles.features) or not all(map(_agree, roles.features, codes)):
        return None
    return tuple(
        code.model_copy(update={"unknown": feature.unknown}) if isinstance(code, CategoricalCode) else code
        for feature, code in zip(roles.features, codes, strict=True)
    )


def _agree(feature: Feature, code: Code) -> bool:
    embedded = isinstance(code, CategoricalCode) and code.embedded
    return (feature.name, feature.type, feature.embedded) == (code.name, code.type, embedded)


def adopt_roles(roles: Roles, source: Architecture) -> Roles:
    """Return the roles. If the source's encoders are adopted, each feature gets the source's number of categories."""
    codes = adopted_features(roles, source)
    if codes is None:
        return roles
    counts = [code.category_count if isinstance(code, CategoricalCode) else None for code in codes]
    known = zip(roles.features, codes, counts, strict=True)
    features = [replace(feature, categories=n, parts=code.width) for feature, code, n in known]
    return replace(roles, features=tuple(features))


def adopted_target(task: Task, roles: Roles, source: Architecture) -> Target | None:
    """Return the source's encoding of the target; None unless its output layer fits this task as it is."""
    output, target = source.output, source.encoders.target
    same_output = (output.units, output.activation) == (task.outputs, task.activation)
    match target:
        case ClassTarget():
            # those of an older network were not cleaned
            cleaned = tuple(category_text(name, ()) for name in target.classes)
            is_named = task.kind == "classes" and target.name == roles.targets[0]
            same = is_named and roles.classes in (target.classes, cleaned)
        case LabelsTarget():
            same = task.kind == "labels" and target.names == roles.targets
        case NumberTarget():
            same = task.kind == "numbers" and target.names == roles.targets
        case _:
            assert_never(target)
    return target if same and same_output else None


def adopt_encoders(fitted: Encoders, task: Task, roles: Roles, source: Architecture) -> Encoders:
    """Return the encoders to use: the source's where they are adopted, otherwise those fitted on the training part."""
    features, target = adopted_features(roles, source), adopted_target(task, roles, source)
    if features is not None:
        features = tuple(map(_written_as, features, fitted.features))
    return fitted.model_copy(update={"features": features or fitted.features, "target": target or fitted.target})


def _written_as(code: Code, fitted: Code) -> Code:
    """Return the source's encoder of a column of numbers, which also reads them as the new table writes them."""
    if isinstance(code, NumericCode) and isinstance(fitted, NumericCode) and fitted.form is not None:
        return code.model_copy(update={"form": fitted.form})
    return code


def start_arrays(source: Trained, *, keep_output: bool) -> dict[str, Floats]:
    """Return the arrays that training starts with; `check_start` has checked that they fit.

    keep_output: include the output layer; otherwise it starts from random numbers.
    """
    output = len(source.layers) - 1
    return {name: array for name, array in source.arrays.items() if keep_output or layer_number(name) != output}


def check_start(spec: Job, layers: Sequence[ResolvedLayer], inputs: int, source: Architecture) -> None:
    """Raise SpecError if a network of these layers can't start from the source. inputs: the width of a row."""
    members = source.members or 1
    if members != spec.training.members:
        pointer = "/training/ensemble" if spec.training.validation.folds is None else "/training/validation/folds"
        raise SpecError(pointer, f"must be {members}, as many networks as the source has")
    _check_shapes(layers, inputs, source)
    if spec.frozen >= len(layers):
        raise SpecError("/start_from/freeze", f"must leave the output layer to train: {len(layers) - 1} or less")


def _check_shapes(layers: Sequence[ResolvedLayer], inputs: int, source: Architecture) -> None:
    """Raise SpecError, which names the first hidden layer whose arrays do not have the source's shapes."""
    if len(layers) != len(source.layers):
        needed, given = len(source.layers) - 1, len(layers) - 1
        raise SpecError("/network/layers", f"must be {needed} layers, as the source has, got {given}")
    ours, theirs = build_network(layers, inputs), source.network
    for n in range(len(layers) - 1):
        if dict(ours.layers[n].shapes) != dict(theirs.layers[n].shapes):
            wanted, got = _described(source.layers[n], theirs.layers[n]), _described(layers[n], ours.layers[n])
            raise SpecError(f"/network/layers/{n}", f"must have the source's shape: {wanted}, got {got}")
    if ours.output.inputs != theirs.output.inputs:
        needed, given = theirs.output.inputs, ours.output.inputs
        raise SpecError("/features", f"must make {needed} inputs, as the source's do, got {given}")


def _described(spec: ResolvedLayer, layer: Layer) -> str:
    return f"{spec.type} of {layer.inputs} inputs and {layer.units} units"
