"""The array types of the engine, and the memory layout that the whole engine uses.

Inside the engine a batch is laid out as in the textbooks, one column for each row of the table: x is (inputs, rows),
z and a are (units, rows) and z = w^T x + b. A stack of K networks puts one axis before these: w is (K, inputs, units).
All code works on the last two axes alone. Outside the engine each row of an array is a row of the table, and the same
sum is z = x w + b.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"float32 or float64; a network uses one of them throughout"
Integers = NDArray[np.integer[Any]]
Targets = NDArray[Any]
"labels, integers (rows,), or numbers (rows, outputs)"


def transposed(a: Floats) -> Floats:
    """Return a view with the last two axes swapped."""
    return a.swapaxes(-1, -2)


def dot(a: Floats, b: Floats, out: Floats | None = None) -> Floats:
    """Return the matrix product over the last two axes, for one network or for each member of a stack."""
    # np.dot takes 0.4 us on tiny matrices, where np.matmul takes 0.9
    return np.dot(a, b, out=out) if a.ndim == b.ndim == 2 else np.matmul(a, b, out=out)


def mean(figure: float | Floats) -> float:
    """Return the mean over a stack's members. NumPy's own mean takes 5 us for a single number."""
    return float(figure.mean()) if isinstance(figure, np.ndarray) and figure.ndim else float(figure)
