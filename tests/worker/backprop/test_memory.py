"""What a run holds in memory, counted in bytes."""

import tracemalloc
from itertools import pairwise

import numpy as np

from tests.worker.backprop.conftest import dense
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.losses.classes import SoftmaxCrossEntropy
from worker.backprop.metrics import accuracy
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam
from worker.backprop.plan import Plan
from worker.backprop.schedules import Schedule

SIZES, ROWS, BATCH = (784, 1024, 1024, 10), 2048, 512


def training_of(part: Part) -> Training:
    layers = [dense(784, 1024, "relu"), dense(1024, 1024, "relu"), dense(1024, 10)]
    plan = Plan(4, BATCH, 1e-3, figures_every=2)
    return Training(
        Network(layers), SoftmaxCrossEntropy(), Adam, Schedule(), plan, train=part, metrics={"accuracy": accuracy}
    )


def test_a_run_takes_little_more_than_its_arrays() -> None:
    """The peak is at most 1.3 times weights, gradient, both moments, two batches of activations and the data.

    The first weights are drawn in float64, a layer at a time, and all of that is freed before the first step.
    """
    generator = np.random.default_rng(0)
    tracemalloc.start()
    part = Part.of(generator.normal(size=(ROWS, 784)).astype(np.float32), generator.integers(0, 10, ROWS))
    data = part.x_and_ones.nbytes + part.y.nbytes
    training = training_of(part)
    tracemalloc.reset_peak()
    epochs = list(training.run(lambda: False))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(epochs) == 4
    parameters = training.parameters.flat.nbytes
    activations = BATCH * sum(SIZES[1:]) * 4
    assert parameters == 4 * sum((a + 1) * b for a, b in pairwise(SIZES))
    assert peak < 1.3 * (4 * parameters + 2 * activations + data)


def test_steps_make_no_large_arrays() -> None:
    """A step of a dense network allocates less than one layer's activation."""
    generator = np.random.default_rng(0)
    training = training_of(Part.of(generator.normal(size=(ROWS, 784)).astype(np.float32), np.arange(ROWS) % 10))
    steps = iter(range(10**6))
    list(training.run(lambda: next(steps) == 1))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    list(training.run(lambda: True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < BATCH * 1024 * 4
