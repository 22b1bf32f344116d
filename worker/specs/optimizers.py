"""Specifications of optimizers, with their parameters, limits and defaults."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Boolean, Number, Spec

Rate = Annotated[Number, Field(gt=0, le=1000)]
Share = Annotated[Number, Field(ge=0, lt=1)]
# float32 has no smaller normal number
Epsilon = Annotated[Number, Field(ge=1e-30, le=1)]
Decay = Annotated[Number, Field(ge=0, le=100)]


class Sgd(Spec):
    """Stochastic gradient descent, with classical momentum or Nesterov's if asked. Source: Sutskever et al. (2013)."""

    type: Literal["sgd"]
    learning_rate: Rate = 0.01
    momentum: Share = 0.0
    nesterov: Boolean = False
    "Look ahead along the momentum, which must not be 0."
    weight_decay: Decay = 0.0
    "Decoupled: each step shrinks the weights (not the biases) by learning_rate x weight_decay of their size."


class Adagrad(Spec):
    """Divides by the root of all squared gradients so far: rare features keep a high rate.

    Source: Duchi et al. (2011).
    """

    type: Literal["adagrad"]
    learning_rate: Rate = 0.01
    epsilon: Epsilon = 1e-10
    weight_decay: Decay = 0.0


class RmsProp(Spec):
    """Divides by the root of a running mean of squared gradients. Source: Tieleman and Hinton (2012)."""

    type: Literal["rmsprop"]
    learning_rate: Rate = 0.001
    decay: Share = 0.9
    "The share of the old running mean that each step keeps."
    epsilon: Epsilon = 1e-8
    weight_decay: Decay = 0.0


class Adam(Spec):
    """Adaptive moments with bias correction. Source: Kingma and Ba (2015), algorithm 1."""

    type: Literal["adam"]
    learning_rate: Rate = 0.001
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Epsilon = 1e-8


class AdamW(Spec):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter (2019), algorithm 2."""

    type: Literal["adamw"]
    learning_rate: Rate = 0.001
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: Decay = 0.01


class Nadam(Spec):
    """Adam with Nesterov's look ahead. Source: Dozat (2016)."""

    type: Literal["nadam"]
    learning_rate: Rate = 0.001
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: Decay = 0.0


class Lion(Spec):
    """Steps by the sign of a running mean; use a tenth of Adam's rate. Source: Chen et al. (2023), algorithm 2."""

    type: Literal["lion"]
    learning_rate: Rate = 0.0001
    beta1: Share = 0.9
    beta2: Share = 0.99
    weight_decay: Decay = 0.0


Optimizer = Annotated[Sgd | Adagrad | RmsProp | Adam | AdamW | Nadam | Lion, Field(discriminator="type")]
