"""The layers of a network, in the order in which a row passes them."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Integer, Number, Spec

Activation = Literal["identity", "relu", "tanh", "sigmoid", "softmax"]
Initializer = Literal["auto", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "zeros"]


class DenseLayer(Spec):
    """z = x w + b, then a = f(z)."""

    type: Literal["dense"]
    units: Annotated[Integer, Field(ge=1, le=65_536)]
    activation: Activation = "relu"
    initializer: Initializer = "auto"
    "`auto` is he_normal for relu and glorot_uniform for the others. Biases start at 0."


class DropoutLayer(Spec):
    """Sets a random share of the activations to 0 in training, and scales up the others. At prediction: nothing."""

    type: Literal["dropout"]
    rate: Annotated[Number, Field(ge=0, lt=1)]


Layer = Annotated[DenseLayer | DropoutLayer, Field(discriminator="type")]


class OutputLayer(Spec):
    """The last dense layer. Its units follow from the target."""

    activation: Literal["auto"] | Activation = "auto"
    "`auto` is softmax for a category and identity for numbers."
    initializer: Initializer = "auto"


class Network(Spec):
    layers: Annotated[tuple[Layer, ...], Field(max_length=256)]
    "The hidden layers; the output layer is added after them. An empty list gives a linear model."
    output: OutputLayer = OutputLayer()
