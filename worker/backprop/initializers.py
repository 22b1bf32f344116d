"""The weights before the first step: each initialiser draws an array of (inputs, units) from a generator."""

import math
from collections.abc import Callable

import numpy as np

from worker.backprop.arrays import Floats

Initializer = Callable[[np.random.Generator, int, int], Floats]


def he_normal(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw normal numbers of variance 2 / inputs. Source: He et al. (2015), equation 10."""
    return _normal(generator, inputs, units, 2 / inputs)


def he_uniform(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw uniform numbers of variance 2 / inputs."""
    return _uniform(generator, inputs, units, 2 / inputs)


def glorot_normal(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw normal numbers of variance 2 / (inputs + units). Source: Glorot and Bengio (2010), equation 12."""
    return _normal(generator, inputs, units, 2 / (inputs + units))


def glorot_uniform(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw uniform numbers of variance 2 / (inputs + units). Source: Glorot and Bengio (2010), equation 16."""
    return _uniform(generator, inputs, units, 2 / (inputs + units))


def lecun_normal(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw normal numbers of variance 1 / inputs, which selu needs. Source: LeCun et al. (1998), equation 16."""
    return _normal(generator, inputs, units, 1 / inputs)


def lecun_uniform(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw uniform numbers of variance 1 / inputs."""
    return _uniform(generator, inputs, units, 1 / inputs)


def orthogonal(generator: np.random.Generator, inputs: int, units: int) -> Floats:
    """Draw orthonormal columns, or rows if there are more columns than rows. Source: Saxe et al. (2014)."""
    q, r = np.linalg.qr(generator.normal(size=(max(inputs, units), min(inputs, units))))
    # each column of q may have either sign; this one makes the draw uniform: Mezzadri (2007), section 5
    q *= np.sign(np.diag(r))
    return q if inputs >= units else q.T


def zeros(generator: np.random.Generator, inputs: int, units: int) -> Floats:  # noqa: ARG001 - nothing is drawn
    """Return zeros. Every unit of a layer then learns the same: for demonstrations and for linear models."""
    return np.zeros((inputs, units))


def _normal(generator: np.random.Generator, inputs: int, units: int, variance: float) -> Floats:
    return generator.normal(0, math.sqrt(variance), (inputs, units))


def _uniform(generator: np.random.Generator, inputs: int, units: int, variance: float) -> Floats:
    bound = math.sqrt(3 * variance)
    return generator.uniform(-bound, bound, (inputs, units))


INITIALIZERS: dict[str, Initializer] = {
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "orthogonal": orthogonal,
    "zeros": zeros,
}
