"""Runs: seeded, stopped and resumed to the bit, ended early, and ended by divergence."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.fit import Epoch, Part, Patience, Plan, State, Training
from worker.backprop.layers import Dropout
from worker.backprop.losses import MeanSquaredError, SoftmaxCrossEntropy
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam, Sgd
from worker.backprop.schedules import constant
from worker.errors import DivergedError


def blobs(rows: int = 90) -> Part:
    generator = np.random.default_rng(5)
    labels = np.arange(rows) % 3
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return Part((centres[labels] + generator.normal(0, 1, (rows, 2))).astype(np.float32), labels)


def training_of(*, rate: float = 0.01, optimizer: Any = Adam, dropout: float = 0.2, **plan: Any) -> Training:
    network = Network([dense(2, 16, "relu"), Dropout(16, dropout), dense(16, 3, "softmax")])
    part = blobs()
    return Training(
        network,
        SoftmaxCrossEntropy(),
        optimizer,
        constant(rate),
        Plan(**{"epochs": 6, "batch_size": 16, "seed": 1} | plan),
        train=Part(part.x[:60], part.y[:60]),
        validation=Part(part.x[60:], part.y[60:]),
        metrics={"accuracy": accuracy},
    )


def run(training: Training) -> list[Epoch]:
    return list(training.run(lambda: False))


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5, 11, 23])
@pytest.mark.parametrize("optimizer", [Adam, lambda like: Sgd(like, momentum=0.9)])
def test_stopped_at_any_step_and_resumed_elsewhere_is_the_same_run(stop_at: int, optimizer: Any) -> None:
    """Weights and every figure of the curve are equal bit for bit, dropout and early stopping included."""
    options = {"optimizer": optimizer, "patience": Patience(4), "l2": 0.01, "clip_norm": 1.0}
    whole = training_of(**options)
    curve = run(whole)

    steps = itertools.count(1)
    first = training_of(**options)
    begun = list(first.run(lambda: next(steps) == stop_at))
    arrays, values = first.state()
    second = training_of(**options)
    second.restore(State(arrays, json.loads(json.dumps(values))))
    assert begun + run(second) == curve
    np.testing.assert_array_equal(second.final.flat, whole.final.flat)
    np.testing.assert_array_equal(second.parameters.flat, whole.parameters.flat)


def test_a_run_may_go_on_in_place_after_a_stop() -> None:
    """Stopping after each step, over and over, changes nothing."""
    whole = training_of()
    curve = run(whole)
    halting = training_of()
    found: list[Epoch] = []
    while not halting.finished:
        found += halting.run(lambda: True)
    assert found == curve


def test_the_seed_decides() -> None:
    """The same seed gives the same weights, another seed others."""
    once, again, other = training_of(), training_of(), training_of(seed=2)
    for training in (once, again, other):
        run(training)
    np.testing.assert_array_equal(once.final.flat, again.final.flat)
    assert not np.array_equal(once.final.flat, other.final.flat)


def test_early_stopping_restores_the_best_epochs_weights() -> None:
    """The run ends `patience` epochs after the best, and its result is the best epoch's."""
    training = training_of(rate=0.2, epochs=200, patience=Patience(5))
    curve = run(training)
    best = min(curve, key=lambda epoch: epoch.validation_loss or 0)
    assert len(curve) < 200
    assert len(curve) == best.epoch + 5
    assert training.validation is not None
    loss, figures = training.evaluate(training.final, training.validation)
    assert (loss, figures["accuracy"]) == (best.validation_loss, best.metrics["validation_accuracy"])


def test_without_early_stopping_the_last_weights_are_the_result() -> None:
    training = training_of()
    run(training)
    assert training.final is training.parameters


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch() -> None:
    """A squared error with a rate far too large overflows, and the error names the epoch."""
    part = blobs()
    training = Training(
        Network([dense(2, 4, "relu"), dense(4, 1)]),
        MeanSquaredError(ACTIVATIONS["identity"]),
        Sgd,
        constant(1e4),
        Plan(epochs=50, batch_size=16),
        train=Part(part.x, part.y[:, None].astype(np.float32)),
        metrics={"r2": r2},
    )
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        run(training)
    assert caught.value.epoch == training.epoch
    assert str(caught.value).startswith("loss is not finite at epoch")


def test_a_small_table_is_one_batch_and_is_monitored_by_its_training_loss() -> None:
    """XOR has four rows: no validation part, a batch size above them, and metrics of the training part."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    training = Training(
        Network([dense(2, 8, "tanh"), dense(8, 2, "softmax")]),
        SoftmaxCrossEntropy(),
        Adam,
        constant(0.05),
        Plan(epochs=300, batch_size=32),
        train=Part(x, np.array([0, 1, 1, 0])),
        metrics={"accuracy": accuracy},
    )
    last = run(training)[-1]
    assert last.metrics == {"train_accuracy": 1.0}
    assert last.validation_loss is None
    assert last.train_loss < 0.05


def test_dropout_keeps_the_mean_in_training_and_is_nothing_in_prediction() -> None:
    """The share of zeros is the rate, what is kept is scaled up, and forward passes x as it is."""
    layer = Dropout(500, 0.3)
    x = np.ones((200, 500), np.float32)
    a = layer.training_pass({}, {}, 200, first=False).forward(x, np.random.default_rng(0))
    assert np.mean(a == 0) == pytest.approx(0.3, abs=0.01)
    assert a.mean() == pytest.approx(1, abs=0.02)
    assert layer.forward({}, x)[1] is x


def test_l2_pulls_weights_and_leaves_biases() -> None:
    """One plain SGD step with a zero gradient of the loss shrinks w by rate x l2 and keeps b."""
    network = Network([dense(2, 1)])
    training = Training(
        network,
        MeanSquaredError(ACTIVATIONS["identity"]),
        Sgd,
        constant(0.5),
        Plan(epochs=1, batch_size=4, l2=0.1),
        train=Part(np.zeros((4, 2)), np.full((4, 1), 3.0)),
        metrics={},
    )
    training.parameters.load({"layers.0.w": np.array([[1.0], [-2.0]]), "layers.0.b": np.array([3.0])})
    run(training)
    np.testing.assert_allclose(training.parameters.flat, [0.95, -1.9, 3.0])
    assert training.gradient_norm == pytest.approx(np.hypot(0.1, 0.2))


def test_clipping_bounds_the_step() -> None:
    """With a clip of 1 and rate 0.1, plain SGD moves by at most 0.1; the recorded norm is the unclipped one."""
    training = training_of(optimizer=Sgd, rate=0.1, clip_norm=1e-3, epochs=1, batch_size=60)
    before = training.parameters.flat.copy()
    epoch = run(training)[0]
    assert np.linalg.norm(training.parameters.flat - before) == pytest.approx(1e-4, rel=1e-3)
    assert epoch.gradient_norm > 1e-3
