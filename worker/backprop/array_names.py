"""The names of a network's arrays in a weights file: `layers.0.w`, or in an ensemble `members.3.layers.0.w`."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

MEMBERS = "members."


def layer_name(layer: int) -> str:
    """Return the name of a layer within its network or block. layer: its position, from 0."""
    return f"layers.{layer}"


def name_in_layer(layer: int, name: str) -> str:
    """Return the name of a layer's array within its network. name: its name within the layer, such as `w`."""
    return f"{layer_name(layer)}.{name}"


def name_in_member(member: int, name: str) -> str:
    """Return the name of a member's array within its ensemble. name: its name within the member, like `layers.0.w`."""
    return f"{MEMBERS}{member}.{name}"


def count_members(names: Iterable[str]) -> int | None:
    """Return how many networks the names belong to; None if they are those of a single network, not an ensemble."""
    return len({name.split(".", 2)[1] for name in names if name.startswith(MEMBERS)}) or None


def layer_number(name: str) -> int:
    """Return the position in its network of the layer that an array belongs to."""
    within = name.split(".", 2)[2] if name.startswith(MEMBERS) else name
    return int(within.split(".", 2)[1])


def of_layer(arrays: Mapping[str, Value], layer: int) -> dict[str, Value]:
    """Select the arrays of one layer, under their names within it: `layers.0.w` becomes `w`."""
    return _under(arrays, name_in_layer(layer, ""))


def of_member(arrays: Mapping[str, Value], member: int) -> dict[str, Value]:
    """Select the arrays of one member of an ensemble, under their names within it."""
    return _under(arrays, name_in_member(member, ""))


def _under(arrays: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
