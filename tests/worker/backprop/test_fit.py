"""Runs: seeded, stopped and resumed to the bit, ended early, and ended by divergence."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.layers.dropout import Dropout
from worker.backprop.losses.classes import SoftmaxCrossEntropy
from worker.backprop.losses.numbers import MeanSquaredError
from worker.backprop.metrics import accuracy, roc_auc
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam, Momentum, Sgd
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Epoch, Patience, Plan, State
from worker.backprop.schedules import Plateau, Schedule
from worker.backprop.updates import norm
from worker.errors import DivergedError, FigureError


def blobs(rows: int = 90) -> tuple[Any, Any]:
    generator = np.random.default_rng(5)
    labels = np.arange(rows) % 3
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return (centres[labels] + generator.normal(0, 1, (rows, 2))).astype(np.float32), labels


def training_of(
    *, rate: Any = 0.01, optimizer: Any = Adam, dropout: float = 0.2, schedule: Any = Schedule, **plan: Any
) -> Training:
    network = Network([dense(2, 16, "relu"), Dropout(16, dropout), dense(16, 3, "softmax")])
    x, y = blobs()
    return Training(
        network,
        SoftmaxCrossEntropy(),
        optimizer,
        schedule(),
        Plan(**{"epochs": 6, "batch_size": 16, "learning_rate": rate, "seed": 1} | plan),
        train=Part.of(x, y, slice(60)),
        validation=Part.of(x, y, slice(60, None)),
        metrics={"accuracy": accuracy},
    )


def plain(x: Any, y: Any, layers: list[Any], objective: Any, optimizer: Any = Sgd, **plan: Any) -> Training:
    """Return a run without a validation part."""
    part = Part.of(np.asarray(x), np.asarray(y))
    return Training(Network(layers), objective, optimizer, Schedule(), Plan(**plan), train=part, metrics={})


def run(training: Training) -> list[Epoch]:
    return list(training.run(lambda: False))


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5, 11, 23])
@pytest.mark.parametrize("optimizer", [Adam, Momentum])
def test_stopped_at_any_step_and_resumed_elsewhere_is_the_same_run(stop_at: int, optimizer: Any) -> None:
    """Weights and every figure of the curve are equal bit for bit, dropout and early stopping included."""
    options = {"optimizer": optimizer, "patience": Patience(4), "l2": 0.01, "clip_norm": 1.0, "accumulate": 2}
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


def test_a_plateau_is_remembered_by_a_run_that_is_resumed() -> None:
    """At so large a rate the loss rises and the rate falls each epoch; a run stopped within the fourth continues so."""
    options = {"rate": 5.0, "optimizer": Sgd, "epochs": 8, "schedule": lambda: Plateau(0.5, 0)}
    whole = training_of(**options)
    curve = run(whole)
    assert len({epoch.learning_rate for epoch in curve}) > 4
    steps = itertools.count(1)
    first = training_of(**options)
    begun = list(first.run(lambda: next(steps) == 14))
    second = training_of(**options)
    second.restore(first.state())
    assert begun + run(second) == curve


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
    """Without patience nothing is restored: the result is the last step's weights."""
    training = training_of()
    run(training)
    assert training.final is training.parameters


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch() -> None:
    """A squared error with a rate far too large overflows, and the error names the epoch."""
    x, y = blobs()
    training = plain(
        x,
        y[:, None].astype(np.float32),
        [dense(2, 4, "relu"), dense(4, 1)],
        MeanSquaredError(ACTIVATIONS["identity"]),
        epochs=50,
        batch_size=16,
        learning_rate=1e4,
    )
    with pytest.raises(DivergedError) as caught:
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
        Schedule(),
        Plan(epochs=300, batch_size=32, learning_rate=0.05),
        train=Part.of(x, np.array([0, 1, 1, 0])),
        metrics={"accuracy": accuracy},
    )
    last = run(training)[-1]
    assert last.metrics == {"train_accuracy": 1.0}
    assert last.validation_loss is None
    assert last.train_loss < 0.05


def test_dropout_keeps_the_mean_in_training_and_is_nothing_in_prediction() -> None:
    """The share of zeros is the rate, the other outputs are scaled up, and a forward pass returns x itself."""
    layer = Dropout(500, 0.3)
    nothing = Parameters([{}], np.float32).views[0]
    step = layer.training_pass(nothing, nothing, 200, first=False)
    a = step.forward(np.ones((501, 200), np.float32), np.random.default_rng(0))
    assert np.mean(a[:-1] == 0) == pytest.approx(0.3, abs=0.01)
    assert a[:-1].mean() == pytest.approx(1, abs=0.02)
    assert (a[-1] == 1).all()
    np.testing.assert_array_equal(step.backward(np.ones((500, 200), np.float32)), a[:-1])
    x = np.ones((500, 200), np.float32)
    assert layer.forward(nothing, x).a is x


def test_l2_pulls_weights_and_leaves_biases() -> None:
    """One plain SGD step with a zero gradient of the loss shrinks w by rate x l2 and keeps b."""
    training = plain(
        np.zeros((4, 2)),
        np.full((4, 1), 3.0),
        [dense(2, 1)],
        MeanSquaredError(ACTIVATIONS["identity"]),
        epochs=1,
        batch_size=4,
        learning_rate=0.5,
        l2=0.1,
    )
    training.parameters.load({"layers.0.w": np.array([[1.0], [-2.0]]), "layers.0.b": np.array([3.0])})
    (epoch,) = run(training)
    np.testing.assert_allclose(training.parameters.flat, [0.95, -1.9, 3.0])
    assert epoch.gradient_norm == pytest.approx(np.hypot(0.1, 0.2))


def test_clipping_bounds_the_step() -> None:
    """With a clip of 1 and rate 0.1, plain SGD moves by at most 0.1; the recorded norm is the unclipped one."""
    training = training_of(optimizer=Sgd, rate=0.1, clip_norm=1e-3, epochs=1, batch_size=60)
    before = training.parameters.flat.copy()
    epoch = run(training)[0]
    assert np.linalg.norm(training.parameters.flat - before) == pytest.approx(1e-4, rel=1e-3)
    assert epoch.gradient_norm > 1e-3


def test_accumulated_batches_are_one_large_batch() -> None:
    """Four batches of 15 rows to a step move the weights as one of 60 does, whatever their order."""
    # not Adam, to whom a gradient twice as long is the same
    options = {"dropout": 0.0, "epochs": 3, "optimizer": Sgd, "rate": 0.5}
    large = training_of(batch_size=60, **options)
    small = training_of(batch_size=15, accumulate=4, **options)
    run(large), run(small)
    np.testing.assert_allclose(small.parameters.flat, large.parameters.flat, rtol=1e-4, atol=1e-6)


def test_a_group_that_the_epoch_cuts_short_counts_its_rows_alone() -> None:
    """With batches of 16, 16, 16 and 12 rows and three to a step, the last step has the last batch alone."""
    training = training_of(dropout=0.0, accumulate=3, epochs=1, optimizer=Sgd, rate=0.1)
    run(training)
    assert training.updates.optimizer.steps == 2
    assert training.updates.accumulated_rows == 0


@pytest.mark.parametrize("monitor", ["validation_accuracy", "train_accuracy", "train_loss", "validation_loss"])
def test_any_recorded_figure_can_end_a_run(monitor: str) -> None:
    """The run ends `patience` epochs after the best epoch by that figure, whether higher or lower is better."""
    higher = monitor.endswith("accuracy")
    options = {"monitor": monitor, "higher_is_better": higher, "rate": 0.1}
    training = training_of(epochs=500, patience=Patience(6), **options)
    curve = run(training)
    values = [{"train_loss": e.train_loss, "validation_loss": e.validation_loss, **e.metrics}[monitor] for e in curve]
    best = max(values) if higher else min(values)
    assert len(curve) < 500
    assert len(curve) == values.index(best) + 1 + 6 == training.final_epoch + 6


def test_the_curve_has_figures_of_each_layer_where_they_are_due() -> None:
    """Every third epoch has the norms of the weights themselves, and of how far its only step moved them."""
    training = training_of(dropout=0.0, batch_size=60, epochs=6, figures_every=3)
    before = {}
    for epoch in training.run(lambda: False):
        assert (epoch.layers is not None) == (epoch.epoch % 3 == 0)
        if epoch.layers is not None:
            first, dropout, last = epoch.layers
            w, b = (training.parameters.named()[f"layers.0.{name}"] for name in "wb")
            assert first.weight_norm == pytest.approx(np.sqrt((w**2).sum() + (b**2).sum()), rel=1e-5)
            moved = np.hypot(np.linalg.norm(before["layers.0.w"] - w), np.linalg.norm(before["layers.0.b"] - b))
            assert first.update_norm == pytest.approx(moved, rel=1e-4)
            assert np.hypot(first.gradient_norm, last.gradient_norm) == pytest.approx(epoch.gradient_norm, rel=1e-5)
            assert (first.units, dropout.weight_norm, last.units) == (16, None, 3)
        before = {name: array.copy() for name, array in training.parameters.named().items()}


def test_dead_units_are_counted() -> None:
    """Units with a bias far below zero give 0 for every row, and are counted."""
    training = training_of(dropout=0.0, epochs=1, rate=0.0)
    training.parameters.views[0]["b"][:5] = -100
    (epoch,) = run(training)
    assert epoch.layers is not None
    assert [layer.dead_units for layer in epoch.layers] == [5, None, 0]


def test_row_weights_are_shares_of_their_mean_and_weigh_the_loss() -> None:
    """A row of weight 2 counts as two rows: the loss and the step are those of the table with that row twice."""
    x, y = blobs(6)
    weights = np.array([1.0, 2, 1, 1, 1, 1])
    twice = np.array([0, 1, 1, 2, 3, 4, 5])
    runs = []
    for part in (Part.of(x, y, weights=weights), Part.of(x, y, twice)):
        training = Training(
            Network([dense(2, 3)]),
            SoftmaxCrossEntropy(),
            Sgd,
            Schedule(),
            Plan(epochs=2, batch_size=7, learning_rate=0.1),
            train=part,
            validation=part,
            metrics={},
        )
        runs.append((run(training), training.parameters.flat))
    (weighted, w), (doubled, v) = runs
    np.testing.assert_allclose(w, v, rtol=1e-5)
    assert weighted[-1].train_loss == pytest.approx(doubled[-1].train_loss, rel=1e-5)
    assert weighted[-1].validation_loss == pytest.approx(doubled[-1].validation_loss, rel=1e-5)


def test_float64_is_kept_throughout() -> None:
    """No array of the state falls back to float32 when the table is in float64."""
    x, y = blobs()
    training = plain(
        x.astype(np.float64), y, [dense(2, 4, "tanh"), dense(4, 3)], SoftmaxCrossEntropy(), Adam,
        epochs=2, batch_size=16, learning_rate=0.01,
    )  # fmt: skip
    run(training)
    state = training.state()
    assert {array.dtype for array in state.arrays.values()} == {np.dtype(np.float64)}


def test_a_figure_that_does_not_exist_can_not_tell_the_best_epoch() -> None:
    """A part of one class has no ROC AUC: the run ends with an error that names it, not with untrained weights."""
    x, y = blobs()
    training = Training(
        Network([dense(2, 3, "softmax")]),
        SoftmaxCrossEntropy(),
        Adam,
        Schedule(),
        Plan(9, 16, 0.01, monitor="validation_roc_auc", higher_is_better=True, patience=Patience(2)),
        train=Part.of(x, y),
        validation=Part.of(x, y, y == 0),
        metrics={"roc_auc": roc_auc},
    )
    with pytest.raises(FigureError, match="validation_roc_auc can't be computed for these rows"):
        run(training)


def test_relu_hides_no_overflow_at_prediction() -> None:
    """A NaN, such as inf - inf, stays a NaN."""
    with np.errstate(all="ignore"):
        a = ACTIVATIONS["relu"].value(np.array([[np.nan, -1.0, 0.0, 2.0, np.inf]]))
    np.testing.assert_array_equal(a, [[np.nan, 0, 0, 2, np.inf]])


def test_huge_row_weights_and_gradients_are_still_finite() -> None:
    """The mean of 1e308s and the square of 1e20 overflow; shares and norms of such numbers do not."""
    part = Part.of(np.zeros((60, 1), np.float32), np.zeros(60, int), weights=np.full(60, 1e308))
    np.testing.assert_array_equal(part.weights, 1)
    with np.errstate(over="ignore"):
        assert norm(np.full(4, 1e20, np.float32)) == pytest.approx(2e20)
        np.testing.assert_allclose(norm(np.full((2, 4), 1e20, np.float32)), [2e20, 2e20], rtol=1e-6)


def test_labels_of_any_integer_type_are_labels() -> None:
    """Labels in bytes or in 32 bits train the same run as those in 64 bits."""
    x, y = blobs()
    curves = []
    for kind in (np.int64, np.uint8, np.int32):
        training = plain(
            x,
            y.astype(kind),
            [dense(2, 3, "softmax")],
            SoftmaxCrossEntropy(),
            epochs=2,
            batch_size=16,
            learning_rate=0.1,
        )
        curves.append(run(training))
    assert curves[0] == curves[1] == curves[2]
