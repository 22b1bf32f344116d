"""Every weight and bias of a network, or of a stack of networks, in one flat array."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.array_names import name_in_layer, name_in_member
from worker.backprop.arrays import Floats
from worker.errors import ShapeError

Shapes = Mapping[str, tuple[int, ...]]


class Views(dict[str, Floats]):
    """Named windows on one layer's part of a flat array. flat: (..., size), that part itself."""

    def __init__(self, flat: Floats, shapes: Shapes) -> None:
        self.flat = flat
        start = 0
        for name, shape in shapes.items():
            stop = start + prod(shape)
            self[name] = flat[..., start:stop].reshape(*flat.shape[:-1], *shape)
            start = stop


def windows(flat: Floats, shapes: Sequence[Shapes]) -> list[Views]:
    """The flat array cut into one part a layer, in order."""
    parts, start = [], 0
    for layer in shapes:
        stop = start + sum(map(prod, layer.values()))
        parts.append(Views(flat[..., start:stop], layer))
        start = stop
    return parts


class Parameters:
    """A flat array and, for each layer, named windows on it: `views[1]["w"]` is layer 1's weights.

    One array makes an optimizer a handful of calls, whatever the depth: a step of the smallest benchmark network
    fell from 90 to 54 us by it. Gradients and moments use the same layout. members: of a stack, else None; a stack's
    flat array has a row a member.
    """

    def __init__(self, shapes: Sequence[Shapes], dtype: DTypeLike, members: int | None = None) -> None:
        self.shapes, self.members = shapes, members
        size = sum(prod(shape) for layer in shapes for shape in layer.values())
        self.flat: Floats = np.zeros(size if members is None else (members, size), dtype)
        self.views = windows(self.flat, shapes)

    def like(self) -> "Parameters":
        """Zeros in the same layout."""
        return Parameters(self.shapes, self.flat.dtype, self.members)

    def named(self) -> dict[str, Floats]:
        """The arrays under their names in a weights file: `layers.0.w`, or of a stack `members.3.layers.0.w`."""
        if self.members is not None:
            return {
                name_in_member(member, name): array
                for member in range(self.members)
                for name, array in self.member(member).named().items()
            }
        return {name_in_layer(n, name): view for n, layer in enumerate(self.views) for name, view in layer.items()}

    def member(self, position: int) -> "Parameters":
        """One member of a stack, as a window."""
        one = Parameters.__new__(Parameters)
        one.shapes, one.members = self.shapes, None
        one.flat = self.flat[position]
        one.views = windows(one.flat, self.shapes)
        return one

    def size_of_first(self, layers: int) -> int:
        """How many numbers the first so many layers have, of one network or member."""
        return sum(prod(shape) for layer in self.shapes[:layers] for shape in layer.values())

    def load(self, arrays: Mapping[str, Floats]) -> None:
        """Copy in a weights file's arrays. Raises ShapeError if one is missing, unknown or of another shape."""
        names = self.named().keys()
        if names != arrays.keys():
            raise ShapeError(f"arrays must be {sorted(names)}, got {sorted(arrays)}")
        self.overwrite(arrays)

    def overwrite(self, arrays: Mapping[str, Floats]) -> None:
        """Copy in some arrays under their names, and leave the others. Raises ShapeError likewise."""
        own = self.named()
        for name, array in arrays.items():
            if name not in own or own[name].shape != array.shape:
                needed = f"must be of shape {own[name].shape}, got {array.shape}" if name in own else "is unknown"
                raise ShapeError(f"{name} {needed}")
            own[name][...] = array
