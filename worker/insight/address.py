"""Which weight a question means: from its words to a place in a network's parameters."""

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
    """The words of the question.

    layer: the position in the resolved list, the output layer included. inner: the position within a residual block.
    source: the unit that the weight comes from, or `bias`; of a normalisation `scale` or `shift`; of an embedding the
    number of a category. to: the unit that it goes to; of an embedding the dimension.
    """

    layer: int
    source: Source
    to: int
    inner: int | None = None


@dataclass(frozen=True)
class Place:
    """Where the weight is. key: the name of its array among the views of its top-level layer."""

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
        """Return the steps among which its own layer's is, and the position of that one."""
        if self.address.inner is None:
            return steps, self.address.layer
        return steps[self.address.layer].inner, self.address.inner


def find(network: Network, address: Address) -> Place:
    """Return the weight's place. Raises QuestionError with a pointer below `/weight` if the network has none there."""
    top = layer = _at(network.layers, address.layer, "/weight/layer", "the network has layers")
    pointer, prefix = "/weight/layer", ""
    if address.inner is not None:
        pointer, prefix = "/weight/inner", name_in_layer(address.inner, "")
        if not layer.layers:
            raise QuestionError(pointer, f"layer {address.layer} is no residual block")
        layer = _at(layer.layers, address.inner, pointer, "the block has layers")
    weight = layer.locate(address.source, address.to, pointer)
    key = prefix + weight.array
    return Place(address, weight, key, key in top.penalised)


def _at(layers: Sequence[Layer], position: int, pointer: str, what: str) -> Layer:
    if not 0 <= position < len(layers):
        raise QuestionError(pointer, f"must be from 0 to {len(layers) - 1}: {what} 0 to {len(layers) - 1}")
    return layers[position]
