"""A network that starts from another's weights: what it takes over, and what does not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Layer
from worker.backprop.network import Network
from worker.data.encoders import CategoricalCode, ClassTarget, Code, Encoders, LabelsTarget, NumberTarget, Target
from worker.data.roles import Feature, Roles
from worker.errors import SpecError
from worker.networks.layers import build_network
from worker.networks.task import Task
from worker.specs.job import Job
from worker.specs.network import ResolvedLayer


@dataclass(frozen=True)
class Source:
    """The trained network: its layers, the output layer last, its encoders, and its arrays."""

    layers: Sequence[ResolvedLayer]
    encoders: Encoders
    arrays: Mapping[str, Floats]

    @property
    def members(self) -> int:
        return len({name.split(".")[1] for name in self.arrays if name.startswith("members.")}) or 1


def adopted_features(roles: Roles, source: Source) -> tuple[Code, ...] | None:
    """The source's codes of these features; None unless they are the same in name, type and order.

    What becomes of an unknown category at prediction is this job's to say.
    """
    codes = source.encoders.features
    if len(codes) != len(roles.features) or not all(map(_agree, roles.features, codes)):
        return None
    return tuple(
        code.model_copy(update={"unknown": feature.unknown}) if isinstance(code, CategoricalCode) else code
        for feature, code in zip(roles.features, codes, strict=True)
    )


def _agree(feature: Feature, code: Code) -> bool:
    return (feature.name, feature.type) == (code.name, code.type) and feature.embedded == getattr(
        code, "embedded", False
    )


def adopt_roles(roles: Roles, source: Source) -> Roles:
    """The roles with as many categories a feature as the source tells apart, where its codes are adopted."""
    codes = adopted_features(roles, source)
    if codes is None:
        return roles
    counts = [code.numbers if isinstance(code, CategoricalCode) else None for code in codes]
    features = [replace(feature, categories=n) for feature, n in zip(roles.features, counts, strict=True)]
    return replace(roles, features=tuple(features))


def adopted_target(task: Task, roles: Roles, source: Source) -> Target | None:
    """The source's encoding of the target; None unless its output layer fits this task as it is."""
    output, target = source.layers[-1], source.encoders.target
    same_output = (
        getattr(output, "units", None) == task.outputs and getattr(output, "activation", None) == task.activation
    )
    match target:
        case ClassTarget():
            same = task.kind == "classes" and (target.name, target.classes) == (roles.targets[0], roles.classes)
        case LabelsTarget():
            same = task.kind == "labels" and target.names == roles.targets
        case NumberTarget():
            same = task.kind == "numbers" and target.names == roles.targets
    return target if same and same_output else None


def adopt_encoders(fitted: Encoders, task: Task, roles: Roles, source: Source) -> Encoders:
    """The encoders of the training part, with what is the source's in the place of their own."""
    features, target = adopted_features(roles, source), adopted_target(task, roles, source)
    return Encoders(features=features or fitted.features, target=target or fitted.target)


def start_arrays(
    spec: Job, layers: Sequence[ResolvedLayer], inputs: int, source: Source, *, keep_output: bool
) -> dict[str, Floats]:
    """The source's arrays for a network of these layers, which so many inputs enter. Raises SpecError.

    keep_output: take the output layer too; else it starts anew.
    """
    if source.members != spec.training.ensemble:
        raise SpecError("/training/ensemble", f"must be {source.members}, as many networks as the source has")
    _check_hidden(layers, build_network(layers, inputs), source)
    freeze = spec.frozen
    if freeze >= len(layers):
        raise SpecError("/start_from/freeze", f"must leave the output layer to train: {len(layers) - 1} or less")
    if keep_output:
        return dict(source.arrays)
    output = f"layers.{len(layers) - 1}."
    return {name: array for name, array in source.arrays.items() if not _of_network(name).startswith(output)}


def _of_network(name: str) -> str:
    """An array's name within its own network, of an ensemble's `members.3.layers.0.w` too."""
    return name.split(".", 2)[2] if name.startswith("members.") else name


def _check_hidden(layers: Sequence[ResolvedLayer], network: Network, source: Source) -> None:
    """Every hidden layer in turn: the first whose arrays are not of the source's shapes is named."""
    if len(layers) != len(source.layers):
        needed, given = len(source.layers) - 1, len(layers) - 1
        raise SpecError("/network/layers", f"must be {needed} layers, as the source has, got {given}")
    theirs = build_network(source.layers, source.encoders.width)
    for n in range(len(layers) - 1):
        if dict(network.layers[n].shapes) != dict(theirs.layers[n].shapes):
            wanted, got = _said(source.layers[n], theirs.layers[n]), _said(layers[n], network.layers[n])
            raise SpecError(f"/network/layers/{n}", f"must have the source's shape: {wanted}, got {got}")
    if network.output.inputs != theirs.output.inputs:
        needed, given = theirs.output.inputs, network.output.inputs
        raise SpecError("/features", f"must make {needed} inputs, as the source's do, got {given}")


def _said(spec: ResolvedLayer, layer: Layer) -> str:
    return f"{spec.type} of {layer.inputs} inputs and {layer.units} units"
