"""Predicting many rows: in blocks, whose memory does not grow with the rows."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.worker.networks.conftest import TABLE, job
from tests.worker.networks.networks import trained
from worker.networks.predictor import BLOCK_BYTES, Predictor

WIDE = [{"type": "dense", "units": 2048}, {"type": "dense", "units": 4}]
BLOCK = [{"type": "dense", "units": 4}, {"type": "residual", "layers": WIDE}]


@pytest.mark.parametrize(("ensemble", "layers"), [(1, WIDE), (3, WIDE), (1, BLOCK)])
def test_many_rows_are_predicted_in_blocks(ensemble: int, layers: list[Any]) -> None:
    """The memory of a wide layer is bounded by the block, and each row has the outputs that it has alone."""
    predictor = Predictor(trained(job({"epochs": 1, "ensemble": ensemble}, layers, target="price"), TABLE))
    x = np.random.default_rng(0).normal(size=(20_000, predictor.encoders.width)).astype(np.float32)
    tracemalloc.start()
    values, spread = predictor.outputs(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # at once, z and a of the wide layer take 20,000 x 2,048 x 4 x 2 bytes, or 330 MB
    assert peak < 2 * BLOCK_BYTES
    assert values.shape == (20_000, 1)
    assert (spread is None) == (ensemble == 1)
    for n in (0, 777, 19_999):
        alone, alone_spread = predictor.outputs(x[n : n + 1])
        np.testing.assert_allclose(values[n], alone[0], rtol=1e-5)
        if spread is not None and alone_spread is not None:
            np.testing.assert_allclose(spread[n], alone_spread[0], rtol=1e-3)
