"""Metrics against scikit-learn's, of the same outputs."""

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from worker.backprop.metrics import (
    METRICS,
    accuracy,
    balanced_accuracy,
    log_loss,
    macro_f1,
    mae,
    r2,
    rmse,
    roc_auc,
    top,
)


def probabilities(rows: int, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Return (rows, classes), with some equal scores."""
    scores = np.round(generator.random((rows, classes)), 1) + 0.05
    return scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_classes(seed: int) -> None:
    """Every figure of a category is scikit-learn's, on outputs with ties."""
    generator = np.random.default_rng(seed)
    outputs, y = probabilities(80, 4, generator), generator.integers(0, 4, 80)
    called = outputs.argmax(axis=1)
    assert accuracy(outputs.T, y) == oracle.accuracy_score(y, called)
    assert balanced_accuracy(outputs.T, y) == pytest.approx(oracle.balanced_accuracy_score(y, called))
    assert macro_f1(outputs.T, y) == pytest.approx(oracle.f1_score(y, called, average="macro"))
    assert roc_auc(outputs.T, y) == pytest.approx(oracle.roc_auc_score(y, outputs, multi_class="ovr"))
    assert log_loss(np.log(outputs.T), y) == pytest.approx(oracle.log_loss(y, outputs))
    distinct = outputs + np.arange(4) * 1e-9
    for k in (2, 3):
        assert top(k)(distinct.T, y) == pytest.approx(oracle.top_k_accuracy_score(y, distinct, k=k))


def test_figures_of_two_classes_by_one_output(generator: np.random.Generator) -> None:
    """With the probability of the second class as the only output, the figures are scikit-learn's."""
    second, y = np.round(generator.random(60), 1) * 0.9 + 0.05, generator.integers(0, 2, 60)
    a, called = second[None, :], second > 0.5
    assert accuracy(a, y) == oracle.accuracy_score(y, called)
    assert balanced_accuracy(a, y) == pytest.approx(oracle.balanced_accuracy_score(y, called))
    assert macro_f1(a, y) == pytest.approx(oracle.f1_score(y, called, average="macro"))
    assert roc_auc(a, y) == pytest.approx(oracle.roc_auc_score(y, second))
    assert log_loss(np.log(a / (1 - a)), y) == pytest.approx(oracle.log_loss(y, second))


def test_figures_of_labels_that_are_there_or_not(generator: np.random.Generator) -> None:
    """Figures of several labels are scikit-learn's means over the labels."""
    outputs, y = generator.random((50, 3)), generator.integers(0, 2, (50, 3)).astype(np.float64)
    assert accuracy(outputs.T, y) == pytest.approx(((outputs > 0.5) == y).mean())
    assert macro_f1(outputs.T, y) == pytest.approx(oracle.f1_score(y, outputs > 0.5, average="macro"))
    assert roc_auc(outputs.T, y) == pytest.approx(oracle.roc_auc_score(y, outputs, average="macro"))
    expected = np.mean([oracle.log_loss(y[:, n], outputs[:, n]) for n in range(3)])
    assert log_loss(np.log(outputs / (1 - outputs)).T, y) == pytest.approx(expected)


def test_a_confidently_wrong_answer_is_told_by_how_much() -> None:
    """Where float32 rounds a to 0 or 1, the log loss comes from z, and wrong classes do not tie with the right one."""
    wrong = np.array([[-20.0, -50.0]], np.float32)
    assert log_loss(wrong, np.array([1, 1])) == pytest.approx(35)
    of_three = np.array([[500.0, 900.0], [100.0, 0.0], [0.0, 300.0]], np.float32)
    assert log_loss(of_three, np.array([2, 1])) == pytest.approx(700)
    assert top(2)(of_three, np.array([2, 1])) == 0
    assert str(log_loss(np.array([[900.0], [0.0]], np.float32), np.array([0]))) == "0.0"


def test_figures_of_numbers(generator: np.random.Generator) -> None:
    """r2, and mae and rmse in the user's units, are scikit-learn's; a constant target too."""
    actual = generator.normal(size=(50, 2))
    predicted = actual + generator.normal(0, 0.5, (50, 2))
    assert r2(predicted.T, actual) == pytest.approx(oracle.r2_score(actual, predicted))
    scales = np.array([2.0, 7.0])
    in_units = (actual * scales, predicted * scales)
    assert mae.in_units(scales)(predicted.T, actual) == pytest.approx(oracle.mean_absolute_error(*in_units))
    squared = oracle.mean_squared_error(*in_units)
    assert rmse.in_units(scales)(predicted.T, actual) == pytest.approx(math.sqrt(squared))
    constant = np.ones((5, 1))
    assert r2(constant.T, constant) == oracle.r2_score(constant, constant)
    assert r2(constant.T * 2, constant) == oracle.r2_score(constant, constant * 2)


def test_a_figure_that_rows_do_not_have_is_nan() -> None:
    """Rows of a single class can't be ranked, so roc_auc is NaN; the other figures are finite."""
    a, y = np.full((2, 4), 0.5), np.zeros(4, int)
    found = {name: metric(a, y) for name, metric in METRICS.items() if "classes" in metric.kinds}
    assert math.isnan(found.pop("roc_auc"))
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_truth_is_better_than_noise(name: str, generator: np.random.Generator) -> None:
    """The truth has the higher figure exactly if the metric says that higher is better, for each kind of target."""
    metric = METRICS[name]
    targets = {
        "classes": generator.integers(0, 6, 60),
        "labels": generator.integers(0, 2, (60, 2)).astype(np.float64),
        "numbers": generator.normal(size=(60, 2)),
    }
    for kind in metric.kinds:
        y = targets[kind]
        sure = 8.0 * np.eye(6)[y].T if kind == "classes" else y.T if kind == "numbers" else 8.0 * (2 * y.T - 1)
        outputs = [sure, generator.normal(size=sure.shape)]
        if kind == "labels" and not metric.takes_z:
            outputs = [1 / (1 + np.exp(-z)) for z in outputs]
        right, noise = (metric(a, y) for a in outputs)
        assert (right > noise) == metric.higher_is_better


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, metric in METRICS.items() for kind in metric.kinds])
def test_a_row_of_weight_three_counts_as_three_rows(name: str, kind: str, generator: np.random.Generator) -> None:
    """Each metric is weighted as the loss is; a row of weight 0 counts nothing."""
    metric = METRICS[name]
    counts = generator.integers(0, 4, 90)
    outputs = np.round(generator.random((7, 90)), 1) if kind == "classes" else generator.random((3, 90))
    y = {
        "classes": generator.integers(0, 7, 90),
        "labels": generator.integers(0, 2, (90, 3)).astype(np.float64),
        "numbers": generator.normal(size=(90, 3)),
    }[kind]
    repeated = np.repeat(np.arange(90), counts)
    wanted = metric(outputs[:, repeated], y[repeated])
    assert metric(outputs, y, counts / counts.mean()) == pytest.approx(wanted, rel=1e-9)
    assert metric(outputs, y) != pytest.approx(wanted, rel=1e-9)
    assert metric(outputs, y, np.ones(90)) == pytest.approx(metric(outputs, y), rel=1e-12)
