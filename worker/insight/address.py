"""Which weight is meant: the question's words -> a place in a network's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from worker.backprop.arrays import Floats
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.normalization import LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.network import Network
from worker.backprop.parameters import Views
from worker.errors import QuestionError
from worker.insight.trace import Step, normalized

Source = int | Literal["bias", "scale", "shift"]


@dataclass(frozen=True)
class Address:
    """layer: in the resolved list, the output layer included; inner: within a residual block.

    source: the unit that the weight comes from, or `bias`; of a normalisation `scale` or `shift`; of an embedding the
    number of a category. to: the unit that it goes to; of an embedding the dimension.
    """

    layer: int
    source: Source
    to: int
    inner: int | None = None


@dataclass(frozen=True)
class Place:
    """name: in a weights file. key and index: of the layer's views. to: the unit whose z the weight moves."""

    address: Address
    layer: Layer
    name: str
    key: str
    index: tuple[int, ...]
    to: int

    @property
    def penalised(self) -> bool:
        """Whether penalties and decay act on it."""
        return self.key.rpartition(".")[2] == "w"

    def array(self, views: Sequence[Views]) -> Floats:
        """The array that it is in, of any parameters in the network's layout."""
        return views[self.address.layer][self.key]

    def sequence(self, steps: list[Step]) -> tuple[list[Step], int]:
        """The steps that its own stands among, and where."""
        if self.address.inner is None:
            return steps, self.address.layer
        return steps[self.address.layer].inner, self.address.inner

    def dz_dw(self, step: Step) -> Floats:
        """The last factor, of each row: (rows,).

        z_j = sum_i x_i w_ij + b_j, so x_i of a weight and 1 of a bias; z_j = scale_j n_j + shift_j, so n_j or 1; of an
        embedding z is the category's own row of w, so 1 for that category's rows and 0 for all others.
        """
        source, layer = self.address.source, step.layer
        if isinstance(layer, Embedding):
            return (layer.codes(step.x, ()) == source).astype(step.x.dtype)
        if source == "scale":
            return normalized(step)[self.to]
        if isinstance(source, int):
            return step.x[source]
        return step.x[0] * 0 + 1


def find(network: Network, address: Address) -> Place:
    """Raises QuestionError with a pointer below `/weight` where the network has no such weight."""
    layer = _among(network.layers, address.layer, "/weight/layer", "the network has layers")
    prefix = ""
    if isinstance(layer, Residual):
        if address.inner is None:
            raise QuestionError(
                "/weight/inner", f"layer {address.layer} is a residual block: say which of its {len(layer.layers)}"
            )
        layer = _among(layer.layers, address.inner, "/weight/inner", "the block has layers")
        prefix = f"layers.{address.inner}."
    elif address.inner is not None:
        raise QuestionError("/weight/inner", f"layer {address.layer} is no residual block")
    array, index, to = _within(layer, address)
    key = prefix + array
    return Place(address, layer, f"layers.{address.layer}.{key}", key, index, to)


def _within(layer: Layer, address: Address) -> tuple[str, tuple[int, ...], int]:
    """The array's name, the index in it, and the unit."""
    source, to = address.source, address.to
    match layer:
        case Dense():
            _check("/weight/to", to, layer.units)
            if source == "bias":
                return "b", (to,), to
            return "w", (_check("/weight/from", source, layer.inputs, ' or "bias"'), to), to
        case LayerNorm():
            _check("/weight/to", to, layer.units)
            if source not in ("scale", "shift"):
                raise QuestionError("/weight/from", 'must be "scale" or "shift": the layer is a normalisation')
            return str(source), (to,), to
        case Embedding():
            _check("/weight/to", to, layer.dimensions)
            if source == layer.categories:
                detail = "is the point of a category that training never saw, which is not trained and stays 0"
                raise QuestionError("/weight/from", detail)
            category = _check("/weight/from", source, layer.categories, ", the number of a category")
            return "w", (category, to), len(layer.kept) + to
        case _:
            place = "/weight/layer" if address.inner is None else "/weight/inner"
            raise QuestionError(place, "is dropout, which has no weights")


def _among(layers: Sequence[Layer], position: int, pointer: str, what: str) -> Layer:
    if not 0 <= position < len(layers):
        raise QuestionError(pointer, f"must be from 0 to {len(layers) - 1}: {what} 0 to {len(layers) - 1}")
    return layers[position]


def _check(pointer: str, given: Source, count: int, also: str = "") -> int:
    if not isinstance(given, int) or not 0 <= given < count:
        raise QuestionError(pointer, f"must be from 0 to {count - 1}{also}")
    return given
