"""Specifications of networks: the layers, in the order in which a row passes them, and the same layers resolved."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import AtMost, ColumnName, Integer, Number, Spec

Activation = Literal[
    "identity",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "softmax",
]
Initializer = Literal[
    "auto",
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "zeros",
]
Epsilon = Annotated[Number, Field(ge=1e-30, le=1)]


class DenseLayer(Spec):
    """z = x w + b, then a = f(z)."""

    type: Literal["dense"]
    units: Annotated[Integer, Field(ge=1, le=65_536)]
    activation: Activation = "relu"
    initializer: Initializer = "auto"
    """How the weights start; biases start at 0. `auto`: he_normal for relu and its relatives, lecun_normal for selu,
    glorot_uniform for the others."""


class DropoutLayer(Spec):
    """Sets a random share of the activations to 0 in training, and scales up the others. No effect at prediction."""

    type: Literal["dropout"]
    rate: Annotated[Number, Field(ge=0, lt=1)]


class BatchNormLayer(Spec):
    """Centres and scales each unit over the batch; at prediction, by the running mean and variance of all batches.

    Put it after a dense layer with activation `identity`, and give the activation here. A batch of one row has no
    variance, so a batch_size of 1 is refused; use layer_norm instead. Source: Ioffe and Szegedy (2015).
    """

    type: Literal["batch_norm"]
    activation: Activation = "identity"
    momentum: Annotated[Number, Field(gt=0, le=1)] = 0.1
    "The share of the newest batch in the running mean and variance."
    epsilon: Epsilon = 1e-5


class LayerNormLayer(Spec):
    """Centres and scales each row over its units, in training as at prediction. Source: Ba et al. (2016)."""

    type: Literal["layer_norm"]
    activation: Activation = "identity"
    epsilon: Epsilon = 1e-5


class EmbeddingLayer(Spec):
    """Replaces the indicators of a categorical column by a vector for each category, which is learned.

    Embeddings come before all other layers. The vectors follow the other columns.
    """

    type: Literal["embedding"]
    column: ColumnName
    "A categorical feature."
    dimensions: Annotated[Integer, Field(ge=1, le=1024)] = 8


InnerLayer = Annotated[DenseLayer | DropoutLayer | BatchNormLayer | LayerNormLayer, Field(discriminator="type")]


class ResidualLayer(Spec):
    """a = x + layers(x): a block with a shortcut around it, so that deep networks learn. Source: He et al. (2016).

    The last of its layers must have as many units as enter the block.
    """

    type: Literal["residual"]
    layers: Annotated[tuple[InnerLayer, ...], Field(min_length=1), AtMost(32)]


Layer = Annotated[
    DenseLayer | DropoutLayer | BatchNormLayer | LayerNormLayer | ResidualLayer | EmbeddingLayer,
    Field(discriminator="type"),
]


class OutputLayer(Spec):
    """The last dense layer. Its number of units follows from the target and the loss."""

    activation: Literal["auto"] | Activation = "auto"
    """`auto`: softmax for a category, sigmoid for binary_cross_entropy, e^z for poisson, identity for other numbers."""
    initializer: Initializer = "auto"


class Network(Spec):
    layers: Annotated[tuple[Layer, ...], AtMost(256)]
    "The hidden layers; the output layer is added after them. An empty list gives a linear model."
    output: OutputLayer = OutputLayer()


ResolvedActivation = Literal[Activation, "exponential"]
"The poisson loss gives the output layer an activation that a client can't ask for, e^z."


class ResolvedDense(DenseLayer):
    """A dense layer as it is built."""

    activation: ResolvedActivation = "relu"  # type: ignore[assignment]


class ResolvedEmbedding(EmbeddingLayer):
    """An embedding as it is built."""

    position: int
    "The position of the category's number among the inputs of this layer."
    categories: int


ResolvedInnerLayer = Annotated[
    ResolvedDense | DropoutLayer | BatchNormLayer | LayerNormLayer, Field(discriminator="type")
]


class ResolvedResidual(ResidualLayer):
    """A residual block as it is built."""

    layers: Annotated[tuple[ResolvedInnerLayer, ...], Field(min_length=1, max_length=32)]


ResolvedLayer = Annotated[
    ResolvedDense | DropoutLayer | BatchNormLayer | LayerNormLayer | ResolvedResidual | ResolvedEmbedding,
    Field(discriminator="type"),
]
