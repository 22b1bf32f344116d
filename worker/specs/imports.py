"""The client's description of a file of weights from another library: what the file does not contain."""

from typing import Annotated

from pydantic import Field

from worker.specs.base import AtMost, ColumnName, Spec, Text
from worker.specs.network import Activation

Names = Annotated[tuple[Text, ...], Field(min_length=1), AtMost(10_000)]


class Description(Spec):
    """Describes a network of dense layers. Its features are numbers, used as they are; a missing cell is 0.

    The kind of prediction follows from the output layer. Softmax, or a sigmoid with one unit, predicts classes. A
    sigmoid with several units predicts labels, each present or absent. Any other activation predicts numbers.
    """

    activations: Annotated[tuple[Activation, ...], Field(min_length=1), AtMost(256)] | None = None
    "One activation for each layer, the output layer last. A state_dict has none; an ONNX file has its own."
    features: Annotated[tuple[ColumnName, ...], Field(min_length=1), AtMost(10_000)] | None = None
    "The names of the columns, in the order of the inputs; null: x0, x1, ..."
    classes: Names | None = None
    """The names of the classes, in the order of the outputs; null: 0, 1, ... An output layer without an activation
    returns logits. They are turned into probabilities by a softmax, or by a sigmoid if there is one unit."""
    targets: Names | None = None
    "The names of labels or numbers, in the order of the outputs; null: y0, y1, ..."
