"""What a file of weights from elsewhere does not say of itself."""

from typing import Annotated

from pydantic import Field

from worker.specs.base import Spec, Text
from worker.specs.network import Activation

Names = Annotated[tuple[Text, ...], Field(min_length=1, max_length=10_000)]


class Description(Spec):
    """Of a network of dense layers. Its features are numbers, taken as they are; a missing cell counts as 0.

    What it answers follows from the output layer: softmax, or a sigmoid of one unit, tells classes apart; a sigmoid of
    several units says of each label whether it is there; any other gives numbers.
    """

    activations: Annotated[tuple[Activation, ...], Field(min_length=1, max_length=256)] | None = None
    "Of each layer, the output layer last. A state_dict lacks them; an ONNX file has its own."
    features: Names | None = None
    "The columns, in the order of the inputs; null: x0, x1, ..."
    classes: Names | None = None
    """In the order of the outputs; null: 0, 1, ... An output layer without an activation gets the softmax, or one unit
    the sigmoid, that makes probabilities of its logits."""
    targets: Names | None = None
    "The names of labels or numbers, in the order of the outputs; null: y0, y1, ..."
