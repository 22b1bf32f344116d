"""Initialisers, metrics, parameters and shapes."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from tests.worker.backprop.conftest import dense, network_of
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.errors import ShapeError

VARIANCES = {
    "he_normal": 2 / 300,
    "he_uniform": 2 / 300,
    "glorot_normal": 2 / 500,
    "glorot_uniform": 2 / 500,
    "zeros": 0,
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initialiser_has_the_variance_of_its_paper(name: str, generator: np.random.Generator) -> None:
    w = INITIALIZERS[name](generator, 300, 200)
    assert w.shape == (300, 200)
    assert w.mean() == pytest.approx(0, abs=2e-3)
    assert w.var() == pytest.approx(VARIANCES[name], rel=0.03)


def test_metrics_are_scikit_learns(generator: np.random.Generator) -> None:
    labels, outputs = generator.integers(0, 4, 50), generator.normal(size=(50, 4))
    assert accuracy(outputs, labels) == oracle.accuracy_score(labels, outputs.argmax(axis=1))
    assert accuracy(outputs, np.eye(4)[labels]) == accuracy(outputs, labels)
    actual = generator.normal(size=(50, 2))
    predicted = actual + generator.normal(0, 0.5, (50, 2))
    assert r2(predicted, actual) == pytest.approx(oracle.r2_score(actual, predicted))
    constant = np.ones((5, 1))
    assert r2(constant, constant) == oracle.r2_score(constant, constant)
    assert r2(constant * 2, constant) == oracle.r2_score(constant, constant * 2)


def test_weights_carry_the_names_of_a_weights_file() -> None:
    _, parameters = network_of(dense(3, 2), dense(2, 1))
    names = {name: array.shape for name, array in parameters.named().items()}
    assert names == {"layers.0.w": (3, 2), "layers.0.b": (2,), "layers.1.w": (2, 1), "layers.1.b": (1,)}


def test_wrong_shapes_are_refused_before_anything_is_computed() -> None:
    network, parameters = network_of(dense(3, 2), dense(2, 1))
    with pytest.raises(ShapeError, match="2 units can't feed one of 5 inputs"):
        Network([dense(3, 2), dense(5, 1)])
    with pytest.raises(ShapeError, match=r"\(rows, 3\), got \(4, 2\)"):
        network.forward(parameters, np.zeros((4, 2)))
    with pytest.raises(ShapeError, match=r"layers.0.w must be of shape \(3, 2\)"):
        parameters.load(parameters.named() | {"layers.0.w": np.zeros((2, 3))})
    with pytest.raises(ShapeError, match="arrays must be"):
        parameters.load({})


def test_forward_changes_nothing_and_trace_shows_every_layer(generator: np.random.Generator) -> None:
    """Predicting leaves weights and inputs as they were; a trace's last a is the output."""
    network, parameters = network_of(dense(3, 4, "relu"), dense(4, 2, "softmax"))
    x, before = generator.normal(size=(5, 3)), parameters.flat.copy()
    kept = x.copy()
    outputs = network.forward(parameters, x)
    np.testing.assert_array_equal(parameters.flat, before)
    np.testing.assert_array_equal(x, kept)
    activities = network.trace(parameters, x)
    assert [activity.z.shape for activity in activities] == [(5, 4), (5, 2)]
    np.testing.assert_array_equal(activities[-1].a, outputs)
    np.testing.assert_allclose(outputs.sum(axis=1), 1)
