"""From a table to a training run."""

import numpy as np

from tests.conftest import spec_of
from worker.data.encoders import NumericCode
from worker.data.sources import make_table
from worker.running.loading import load
from worker.settings import Limits


def test_columns_are_scaled_by_the_training_part_alone() -> None:
    """Mean and scale are those of the training rows; nothing of the other parts leaks into them."""
    spec = spec_of(training={"test": {"fraction": 0.3}})
    table = make_table(spec.dataset)  # type: ignore[arg-type]
    loaded = load(spec, table, Limits())
    assert loaded.split.test is not None
    for code in loaded.encoders.features:
        assert isinstance(code, NumericCode)
        column = table[code.name].to_numpy()
        assert code.mean == column[loaded.split.train].mean()
        assert code.mean != column.mean()
    x = loaded.training.train.x
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-5)
