"""Finds the weight that a question names, in a network's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.backprop.array_names import name_in_layer
from worker.backprop.arrays import Floats
from worker.backprop.layers.layer import Layer, Source, Step, Weight
from worker.backprop.network import Network
from worker.backprop.parameters import Views
from worker.errors import QuestionError


@dataclass(frozen=True)
class Address:
    """A weight as a question names it.

    layer: the position in the list of resolved layers, which includes the output layer.
    source: the unit that the weight comes from, or `bias`. In a normalisation: `scale` or `shift`. In an embedding: the
        number of a category.
    to: the unit that the weight goes to. In an embedding: the dimension.
    inner: the position of the layer within a residual block; None outside one.
    """

    layer: int
    source: Source
    to: int
    inner: int | None = None


@dataclass(frozen=True)
class Place:
    """Where the weight is in the network.

    key: the name of its array among the views of its top-level layer.
    penalised: whether penalties and weight decay act on it.
    """

    address: Address
    weight: Weight
    key: str
    penalised: bool

    @property
    def name(self) -> str:
        """The name of its array in a weights file."""
        return name_in_layer(self.address.layer, self.key)

    @property
    def index(self) -> tuple[int, ...]:
        """Its place in that array."""
        return self.weight.index

    def array(self, views: Sequence[Views]) -> Floats:
        """Return its array in any parameters with the network's layout."""
        return views[self.address.layer][self.key]

    def sequence(self, steps: list[Step]) -> tuple[list[Step], int]:
        """Return the sequence of steps that contains the step of the weight's own layer, and its position there."""
        if self.address.inner is None:
            return steps, self.address.layer
        return steps[self.address.layer].inner, self.address.inner


def find(network: Network, address: Address) -> Place:
    """Return the weight's place. Raises QuestionError, with a pointer below `/weight`, if there is no such weight."""
    top = layer = _at(network.layers, address.layer, "/weight/layer", "the network has layers")
    pointer, prefix = "/weight/layer", ""
    if address.inner is not None:
        pointer, prefix = "/weight/inner", name_in_layer(address.inner, "")
        if not layer.layers:
            raise QuestionError(pointer, f"layer {address.layer} is not a residual block")
        layer = _at(layer.layers, address.inner, pointer, "the block has layers")
    weight = layer.locate(address.source, address.to, pointer)
    key = prefix + weight.array
    return Place(address, weight, key, key in top.penalised)


def _at(layers: Sequence[Layer], position: int, pointer: str, what: str) -> Layer:
    if not 0 <= position < len(layers):
        raise QuestionError(pointer, f"must be from 0 to {len(layers) - 1}: {what} 0 to {len(layers) - 1}")
    return layers[position]
