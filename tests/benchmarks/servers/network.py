"""The network that all of them serve."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_generator = np.random.default_rng(0)
_layers = [(_generator.normal(0, 0.2, shape).astype(np.float32)) for shape in ((30, 64), (64, 64), (64, 2))]


def predict(rows: Any) -> NDArray[np.float32]:
    """(rows, 2)."""
    a = np.asarray(rows, np.float32)
    for w in _layers[:-1]:
        a = np.maximum(a @ w, 0)
    z = np.exp(a @ _layers[-1])
    probabilities: NDArray[np.float32] = z / z.sum(axis=1, keepdims=True)
    return probabilities
