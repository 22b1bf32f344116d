"""The weights before the first step: (inputs, units) arrays from a generator."""

import math
from collections.abc import Callable

import numpy as np

from worker.backprop.arrays import Floats

Initializer = Callable[[np.random.Generator, int, int], Floats]


def he_normal(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Normal with variance 2 / inputs. Source: He et al. (2015), equation 10."""
    return generator.normal(0, math.sqrt(2 / inputs), (inputs, units))


def he_uniform(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Uniform with variance 2 / inputs."""
    bound = math.sqrt(6 / inputs)
    return generator.uniform(-bound, bound, (inputs, units))


def glorot_normal(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Normal with variance 2 / (inputs + units). Source: Glorot and Bengio (2010), equation 12."""
    return generator.normal(0, math.sqrt(2 / (inputs + units)), (inputs, units))


def glorot_uniform(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Uniform with variance 2 / (inputs + units). Source: Glorot and Bengio (2010), equation 16."""
    bound = math.sqrt(6 / (inputs + units))
    return generator.uniform(-bound, bound, (inputs, units))


def zeros(generator: np.random.Generator, inputs: int, units: int) -> Floats:  # noqa: ARG001 - nothing is drawn
    """All zero: every unit of a layer learns the same. For demonstration, and for linear models."""
    return np.zeros((inputs, units))


INITIALIZERS: dict[str, Initializer] = {
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "zeros": zeros,
}
