"""Small networks in float64, where finite differences mean something."""

from collections.abc import Callable

import numpy as np
import pytest

from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import Floats, Integers
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers import Dense, Dropout, Layer
from worker.backprop.losses import Objective
from worker.backprop.network import Network, TrainingPass
from worker.backprop.parameters import Parameters


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def dense(inputs: int, units: int, activation: str = "identity") -> Dense:
    return Dense(inputs, units, ACTIVATIONS[activation], INITIALIZERS["glorot_normal"])


def network_of(*layers: Layer, seed: int = 3) -> tuple[Network, Parameters]:
    """A network with weights and biases that are not zero."""
    network = Network(layers)
    parameters = network.parameters(np.float64)
    parameters.flat[...] = np.random.default_rng(seed).normal(0, 0.7, parameters.flat.shape)
    return network, parameters


def loss_and_gradient(
    network: Network, parameters: Parameters, objective: Objective, x: Floats, y: Floats | Integers
) -> tuple[Callable[[Floats], float], Floats]:
    """The loss as a function of the flat parameters, and the gradient by back-propagation."""
    gradients = parameters.like()
    TrainingPass(network, objective, parameters, gradients, len(x))(x, y, np.random.default_rng(0))

    def loss(flat: Floats) -> float:
        moved = parameters.like()
        moved.flat[...] = flat
        return objective.value(network.last_z(moved, x), y)

    return loss, gradients.flat


__all__ = ["Dropout", "dense", "loss_and_gradient", "network_of"]
