"""The types that the engine speaks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"float32 or float64; a network uses one of them throughout"
Integers = NDArray[np.integer[Any]]
