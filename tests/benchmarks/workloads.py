"""The five workloads on which engines are compared: shapes, rows and batches, with the same random table for each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Workload:
    """sizes: of the layers, inputs first; relu between them. loss: binary, softmax or squared."""

    sizes: tuple[int, ...]
    loss: str
    rows: int
    batch: int

    def table(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """x (rows, inputs); y labels (rows,), or numbers (rows, 1) of a squared loss. Noisy: no loss goes to 0."""
        generator = np.random.default_rng(0)
        x = generator.normal(size=(self.rows, self.sizes[0])).astype(np.float32)
        signal = x[:, 0] + generator.normal(size=self.rows)
        if self.loss == "squared":
            return x, signal[:, None].astype(np.float32)
        classes = max(2, self.sizes[-1])
        edges = np.quantile(signal, np.arange(1, classes) / classes)
        return x, np.digitize(signal, edges)

    @property
    def flops(self) -> int:
        """Of the products of one row's forward and backward pass; the first layer has no dL/dx."""
        products = [a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        return 6 * sum(products) - 2 * products[0]


WORKLOADS = {
    "W1": Workload((2, 16, 16, 1), "binary", 1_000, 32),
    "W2": Workload((30, 64, 64, 2), "softmax", 10_000, 64),
    "W3": Workload((784, 256, 128, 10), "softmax", 60_000, 128),
    "W4": Workload((784, 1024, 1024, 10), "softmax", 10_240, 512),
    "W5": Workload((10, 100, 1), "squared", 442, 442),
}
RATE = 0.001
