"""Small networks in float64, where finite differences mean something."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import Floats, Targets
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.layer import Layer
from worker.backprop.losses.objective import Objective
from worker.backprop.network import Network, TrainingPass
from worker.backprop.parameters import Parameters


def dense(inputs: int, units: int, activation: str = "identity") -> Dense:
    return Dense(inputs, units, ACTIVATIONS[activation], INITIALIZERS["glorot_normal"])


def network_of(*layers: Layer, seed: int = 3) -> tuple[Network, Parameters]:
    """Return a network whose weights and biases are not zero."""
    network = Network(layers)
    parameters = network.parameters(np.float64)
    parameters.flat[...] = np.random.default_rng(seed).normal(0, 0.7, parameters.flat.shape)
    return network, parameters


def with_ones(x: Floats) -> Floats:
    """Return (rows, inputs) as a training pass takes it, (inputs + 1, rows)."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1).T


def gradient_of(
    network: Network,
    parameters: Parameters,
    objective: Objective,
    x: Floats,
    y: Targets,
    weights: Floats | None = None,
) -> tuple[Parameters, Floats]:
    """Return the gradient by back-propagation, and the batch's mean loss in training mode."""
    gradients = parameters.like()
    z = np.empty((network.outputs, len(x)))
    step = TrainingPass(network, objective, parameters, gradients, len(x))
    step(with_ones(x), objective.encode(y, network.outputs, np.float64), weights, z, np.random.default_rng(0))
    return gradients, objective.mean(z, y, weights)


def directions(size: int, count: int = 12) -> Sequence[Floats]:
    """Return random directions, and each axis if there are few."""
    generator = np.random.default_rng(1)
    axes = list(np.eye(size)[: min(size, 40)])
    return [direction / np.linalg.norm(direction) for direction in (*axes, *generator.normal(size=(count, size)))]


def assert_is_gradient(loss: Callable[[Floats], Any], at: Floats, gradient: Floats) -> None:
    """Assert that the directional derivatives equal central differences to a relative 1e-6.

    The differences are of the fourth order, in a step long enough that round-off does not matter. Where the loss bends
    sharply, as after two normalisations, the step must be shorter.
    """
    scale = np.abs(gradient).max() + 1e-3
    for direction in directions(at.size):
        expected = pytest.approx(gradient @ direction, rel=1e-6, abs=1e-6 * scale)
        found = [_derivative(loss, at, direction, step) for step in (2e-4, 2e-5)]
        assert any(value == expected for value in found), (found, gradient @ direction)


def _derivative(loss: Callable[[Floats], Any], at: Floats, direction: Floats, step: float) -> float:
    near = loss(at + step * direction) - loss(at - step * direction)
    far = loss(at + 2 * step * direction) - loss(at - 2 * step * direction)
    return float(8 * near - far) / (12 * step)


__all__ = ["assert_is_gradient", "dense", "gradient_of", "network_of", "with_ones"]
