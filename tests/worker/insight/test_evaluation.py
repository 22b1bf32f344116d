"""Final figures, of networks so sure of themselves that float32 has rounded their probabilities to 0 and 1."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp
from sklearn import metrics as oracle

from worker.insight.evaluation import (
    evaluate_classes,
    evaluate_labels,
    evaluate_numbers,
    logs_of_classes,
    logs_of_labels,
)


def test_figures_of_a_sure_network_are_those_of_its_z(generator: np.random.Generator) -> None:
    """The cross-entropy is linear in a far-off z, and the class with the largest z is predicted."""
    z, labels = generator.normal(0, 200, (3, 50)).astype(np.float32), generator.integers(0, 3, 50)
    found = evaluate_classes(logs_of_classes(z), labels, ["a", "b", "c"])["metrics"]
    exact = log_softmax(z.T.astype(np.float64), axis=1)
    assert found["log_loss"] == pytest.approx(-exact[np.arange(50), labels].mean())
    assert found["top_2"] == oracle.top_k_accuracy_score(labels, z.T, k=2)
    assert found["accuracy"] == oracle.accuracy_score(labels, z.argmax(axis=0))


def test_one_output_is_the_second_of_two_classes(generator: np.random.Generator) -> None:
    """A single output is the probability of the second class, and the first has the rest."""
    z = generator.normal(0, 100, (1, 20))
    np.testing.assert_allclose(logs_of_classes(z)[:, 1], -np.logaddexp(0, -z[0]), atol=1e-12)
    np.testing.assert_allclose(np.exp(logs_of_classes(z)).sum(axis=1), 1)


def test_an_ensemble_gives_the_mean_of_its_members_probabilities(generator: np.random.Generator) -> None:
    """The mean is taken of probabilities, not of their logarithms."""
    z = generator.normal(0, 50, (4, 3, 20))
    expected = logsumexp(log_softmax(z, axis=1), axis=0, b=1 / 4).T
    np.testing.assert_allclose(logs_of_classes(z), expected, atol=1e-12)


def test_labels_that_are_surely_wrong_count_by_how_much() -> None:
    """A label that is wrong by z = -80 costs 80 nats, though its probability rounds to 0."""
    z = np.array([[-80.0, 3.0, -2.0], [60.0, -2.0, 1.0]], np.float32)
    truth = np.array([[1, 0], [1, 0], [0, 1]])
    found = evaluate_labels(logs_of_labels(z), truth, ["a", "b"])["metrics"]
    signs = 2 * truth.T - 1
    assert found["log_loss"] == pytest.approx(np.logaddexp(0, -signs * z.astype(np.float64)).mean())
    assert found["accuracy"] == pytest.approx(4 / 6)


def test_scores_that_are_no_probabilities_have_no_figures_of_such() -> None:
    """Outputs of a squared error that are no probabilities have an accuracy, but no log loss and no ROC AUC."""
    scores = np.array([[2.0, -1.0], [-3.0, 0.5], [0.1, 0.2]])
    found = evaluate_classes(scores, np.array([0, 1, 0]), ["a", "b"], are_logs=False)["metrics"]
    assert (found["accuracy"], found["log_loss"], found["roc_auc"]) == (pytest.approx(2 / 3), None, None)


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_a_row_of_weight_three_counts_as_three_rows(kind: str) -> None:
    """In each metric; the confusion matrix and the residuals are of the rows themselves."""
    generator = np.random.default_rng(5)
    counts = generator.integers(0, 4, 80)
    repeated = np.repeat(np.arange(80), counts)

    def evaluated(rows: NDArray[np.int64], weights: NDArray[np.float64] | None) -> dict[str, Any]:
        if kind == "classes":
            return evaluate_classes(logs_of_classes(z[:, rows]), y[rows], list("abcd"), weights)
        if kind == "labels":
            return evaluate_labels(logs_of_labels(z[:, rows]), y[rows], list("abcd"), weights)
        return evaluate_numbers(z.T[rows], y[rows], list("abcd"), weights)

    z = generator.normal(size=(4, 80))
    y = {
        "classes": generator.integers(0, 4, 80),
        "labels": generator.integers(0, 2, (80, 4)).astype(float),
        "numbers": generator.normal(size=(80, 4)),
    }[kind]
    wanted = evaluated(repeated, None)["metrics"]
    found = evaluated(np.arange(80), counts / counts.mean())
    assert found["metrics"] == pytest.approx(wanted, rel=1e-9)
    assert evaluated(np.arange(80), None)["metrics"] != pytest.approx(wanted, rel=1e-9)
    assert found["rows"] == 80
