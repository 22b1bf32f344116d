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
    """Named views of one layer's part of a flat array. flat: that part, (..., size)."""

    def __init__(self, flat: Floats, shapes: Shapes) -> None:
        self.flat = flat
        start = 0
        for name, shape in shapes.items():
            stop = start + prod(shape)
            self[name] = flat[..., start:stop].reshape(*flat.shape[:-1], *shape)
            start = stop


def windows(flat: Floats, shapes: Sequence[Shapes]) -> list[Views]:
    """Return the parts of a flat array, one for each layer, in order."""
    parts, start = [], 0
    for layer in shapes:
        stop = start + sum(map(prod, layer.values()))
        parts.append(Views(flat[..., start:stop], layer))
        start = stop
    return parts


class Parameters:
    """A flat array and, for each layer, named views of it: `views[1]["w"]` is the weights of layer 1.

    With one array an optimizer makes a handful of calls, however deep the network is. That cut a training step of the
    smallest benchmark network from 90 to 54 us. Gradients and the optimizer's slots use the same layout.
    members: how many networks a stack has, or None for one network. A stack's flat array has one row for each member.
    """

    def __init__(self, shapes: Sequence[Shapes], dtype: DTypeLike, members: int | None = None) -> None:
        self.shapes, self.members = shapes, members
        size = sum(prod(shape) for layer in shapes for shape in layer.values())
        self.flat: Floats = np.zeros(size if members is None else (members, size), dtype)
        self.views = windows(self.flat, shapes)

    def like(self) -> "Parameters":
        """Return zeros in the same layout."""
        return Parameters(self.shapes, self.flat.dtype, self.members)

    def named(self) -> dict[str, Floats]:
        """Return the arrays by their names in a weights file: `layers.0.w`, or `members.3.layers.0.w` in a stack."""
        if self.members is not None:
            return {
                name_in_member(member, name): array
                for member in range(self.members)
                for name, array in self.member(member).named().items()
            }
        return {name_in_layer(n, name): view for n, layer in enumerate(self.views) for name, view in layer.items()}

    def member(self, position: int) -> "Parameters":
        """Return a view of one member of a stack."""
        one = Parameters.__new__(Parameters)
        one.shapes, one.members = self.shapes, None
        one.flat = self.flat[position]
        one.views = windows(one.flat, self.shapes)
        return one

    def size_of_first(self, layers: int) -> int:
        """Return how many numbers the first `layers` layers of one network or member have."""
        return sum(prod(shape) for layer in self.shapes[:layers] for shape in layer.values())

    def load(self, arrays: Mapping[str, Floats]) -> None:
        """Copy in the arrays of a weights file. Raises ShapeError if one is missing, unknown or of another shape."""
        names = self.named().keys()
        if names != arrays.keys():
            raise ShapeError(f"arrays must be {sorted(names)}, got {sorted(arrays)}")
        self.overwrite(arrays)

    def overwrite(self, arrays: Mapping[str, Floats]) -> None:
        """Copy in some arrays by their names and leave the others.

        Raises ShapeError if one is unknown or of another shape.
        """
        own = self.named()
        for name, array in arrays.items():
            if name not in own or own[name].shape != array.shape:
                needed = f"must be of shape {own[name].shape}, got {array.shape}" if name in own else "is unknown"
                raise ShapeError(f"{name} {needed}")
            own[name][...] = array
