"""Layers that training does not touch, and first weights that are given."""

from typing import Any

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import transposed
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.layers.dropout import Dropout
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.losses.classes import SoftmaxCrossEntropy
from worker.backprop.network import Network
from worker.backprop.optimizers import Adagrad, Adam, Lion, Momentum, Nadam, RmsProp, Sgd
from worker.backprop.plan import Patience, Plan
from worker.backprop.schedules import Schedule
from worker.errors import ShapeError

FROZEN = 5
IDENTITY = ACTIVATIONS["identity"]


def layers() -> list[Layer]:
    """Return one layer of each kind, to be frozen, and others to train."""
    return [
        Embedding(3, 0, 4, 2),
        dense(4, 6, "tanh"),
        BatchNorm(6, ACTIVATIONS["relu"]),
        Dropout(6, 0.5),
        Residual([dense(6, 6, "tanh"), BatchNorm(6, IDENTITY), LayerNorm(6, IDENTITY)]),
        dense(6, 5, "tanh"),
        BatchNorm(5, IDENTITY),
        Dropout(5, 0.2),
        dense(5, 3, "softmax"),
    ]


def table() -> tuple[Any, Any]:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(60, 3))
    x[:, 0] = generator.integers(0, 4, 60)
    return x, generator.integers(0, 3, 60)


def drawn(members: int | None = None) -> dict[str, Any]:
    """Return first weights that all differ; running variances are positive."""
    parameters = Network(layers()).parameters(np.float64, members)
    parameters.flat[...] = np.random.default_rng(8).normal(0, 0.5, parameters.flat.shape)
    return {name: np.abs(a) + 0.2 if name.endswith("variance") else a for name, a in parameters.named().items()}


def training_of(
    given: list[Layer], x: Any, y: Any, optimizer: Any = Adam, start: dict[str, Any] | None = None, **plan: Any
) -> Training:
    return Training(
        Network(given),
        SoftmaxCrossEntropy(),
        optimizer,
        Schedule(),
        Plan(**{"epochs": 4, "batch_size": 16, "learning_rate": 0.02, "seed": 2} | plan),
        train=Part.of(x, y, dtype=np.float64),
        metrics={},
        start=start,
    )


def layer_of(name: str) -> int:
    return int(name.partition("layers.")[2].split(".")[0])


@pytest.mark.parametrize("seeds", [None, (1, 2)])
@pytest.mark.parametrize("optimizer", [Sgd, Momentum, Adagrad, RmsProp, Adam, Nadam, Lion])
def test_frozen_layers_keep_every_bit(optimizer: Any, seeds: tuple[int, ...] | None) -> None:
    """Momentum, decay, penalties, clipping and batch_norm's running figures change none of their numbers."""
    start = drawn(None if seeds is None else 2)
    pulls = {"l1": 0.01, "l2": 0.01, "decay": 0.1, "clip_norm": 0.5, "accumulate": 2, "patience": Patience(9)}
    training = training_of(layers(), *table(), optimizer, start, frozen=FROZEN, seeds=seeds, **pulls)
    list(training.run(lambda: False))
    for name, array in training.final.named().items():
        assert np.array_equal(array, start[name]) == (layer_of(name) < FROZEN), name
    assert all(slot.size < training.parameters.flat.size for slot in training.updates.optimizer.slots.values())


@pytest.mark.parametrize("seeds", [None, (1, 2)])
def test_the_rest_trains_as_a_network_on_what_the_frozen_layers_give(seeds: tuple[int, ...] | None) -> None:
    """The tail alone, fed with the frozen layers' pure forward, takes the same steps; so they compute as at prediction.

    A stack's members must share their frozen layers here, for the tail alone has one x for all.
    """
    x, y = table()
    start, given = drawn(), layers()
    members = range(len(seeds or ()))
    stacked = start if seeds is None else {f"members.{n}.{name}": a for n in members for name, a in start.items()}
    whole = training_of(given, x, y, start=stacked, frozen=FROZEN, seeds=seeds, l2=0.01, clip_norm=0.3)
    features = transposed(whole.network.activities(whole.parameters, x)[FROZEN - 1].a)
    tail = {
        name.replace(f"layers.{layer_of(name)}", f"layers.{layer_of(name) - FROZEN}", 1): array
        for name, array in stacked.items()
        if layer_of(name) >= FROZEN
    }
    features = features if seeds is None else features[0]
    alone = training_of(given[FROZEN:], features, y, start=tail, seeds=seeds, l2=0.01, clip_norm=0.3)
    curves = [[epoch.train_loss for epoch in run.run(lambda: False)] for run in (whole, alone)]
    np.testing.assert_allclose(*curves, rtol=1e-9)
    size = alone.parameters.flat.shape[-1]
    np.testing.assert_allclose(whole.parameters.flat[..., -size:], alone.parameters.flat, rtol=1e-7, atol=1e-10)


def test_a_frozen_run_resumes_to_the_bit() -> None:
    """A state that has the optimizer's slots of the trained layers only is enough."""
    start = drawn()
    whole, first, second = (training_of(layers(), *table(), start=start, frozen=FROZEN) for _ in range(3))
    curve = list(whole.run(lambda: False))
    steps = iter(range(99))
    begun = list(first.run(lambda: next(steps) == 6))
    second.restore(first.state())
    assert begun + list(second.run(lambda: False)) == curve
    assert np.array_equal(whole.parameters.flat, second.parameters.flat)


def test_given_weights_replace_the_random_ones_that_they_name() -> None:
    """The others are as their seed draws them, and a name or a shape that does not fit is refused."""
    x, y = table()
    drawn_first = training_of(layers(), x, y).parameters.named()
    w = np.full((4, 6), 0.25)
    started = training_of(layers(), x, y, start={"layers.1.w": w}).parameters.named()
    assert np.array_equal(started.pop("layers.1.w"), w)
    assert all(np.array_equal(array, drawn_first[name]) for name, array in started.items())
    with pytest.raises(ShapeError, match=r"layers.1.w must be of shape \(4, 6\), got \(6, 4\)"):
        training_of(layers(), x, y, start={"layers.1.w": w.T})
    with pytest.raises(ShapeError, match=r"layers.9.w is unknown"):
        training_of(layers(), x, y, start={"layers.9.w": w})
