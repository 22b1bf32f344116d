"""The same run as scikit-learn's MLP: from the same weights, on the same batches."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from tests.worker.backprop.conftest import dense
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import Floats, Integers, Targets
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.losses.classes import SoftmaxCrossEntropy
from worker.backprop.losses.numbers import MeanSquaredError
from worker.backprop.losses.objective import Objective
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam, Momentum
from worker.backprop.plan import Plan
from worker.backprop.schedules import Schedule
from worker.backprop.updates import MakeOptimizer

EPOCHS = 20
# scikit-learn adds epsilon before the bias correction and we, as the paper's algorithm 1, after it: made to vanish
EPSILON = 1e-30


def adam(weights: Floats, gradient: Floats) -> Adam:
    return Adam(weights, gradient, epsilon=EPSILON)


class InOrder:
    """Orders that do not shuffle."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def current(self) -> Integers:
        return np.arange(self._rows)

    def end_epoch(self) -> None:
        """Keep the order for the next epoch."""


def train_ours(x: Floats, y: Targets, peer: object, objective: Objective, optimizer: MakeOptimizer) -> list[float]:
    """Return the curve of our run from the peer's first weights, in float64, with the rows in order."""
    network = Network([dense(x.shape[1], 7, "tanh"), dense(7, len(np.unique(y)) if y.ndim == 1 else 1)])
    plan = Plan(EPOCHS, 30, 0.01)
    training = Training(network, objective, optimizer, Schedule(), plan, train=Part.of(x, y), metrics={})
    training._orders = InOrder(len(x))  # type: ignore[assignment]
    training.parameters.load(
        {f"layers.{n}.w": w for n, w in enumerate(peer.coefs_)}
        | {f"layers.{n}.b": b for n, b in enumerate(peer.intercepts_)}
    )
    return [epoch.train_loss for epoch in training.run(lambda: False)]


def peer_curve(peer: object, x: Floats, y: Targets) -> tuple[object, list[float]]:
    """Return the peer with its first weights, and its curve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = type(peer)(**peer.get_params() | {"max_iter": 1, "learning_rate_init": 1e-300}).fit(x, y)
        trained = peer.fit(x, y)
    return first, trained.loss_curve_


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_loss_curve_of_a_classifier_is_scikit_learns(solver: str) -> None:
    """Twenty epochs of softmax and cross-entropy agree to round-off."""
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    options = {"hidden_layer_sizes": (7,), "activation": "tanh", "alpha": 0, "batch_size": 30, "shuffle": False}
    peer = MLPClassifier(
        solver=solver, learning_rate_init=0.01, max_iter=EPOCHS, momentum=0.5, nesterovs_momentum=False,
        epsilon=EPSILON, random_state=1, n_iter_no_change=EPOCHS, **options,
    )  # fmt: skip
    first, expected = peer_curve(peer, x, y)
    optimizer = adam if solver == "adam" else lambda w, g: Momentum(w, g, momentum=0.5)
    curve = train_ours(x, y, first, SoftmaxCrossEntropy(), optimizer)
    np.testing.assert_allclose(curve, expected, rtol=1e-9)


def test_loss_curve_of_a_regressor_is_scikit_learns() -> None:
    """Twenty epochs agree to round-off, its squared loss being half of ours."""
    x, _ = load_iris(return_X_y=True)
    x, y = x[:, :3], x[:, 3:]
    peer = MLPRegressor(
        hidden_layer_sizes=(7,), activation="tanh", solver="adam", alpha=0, batch_size=30, shuffle=False,
        learning_rate_init=0.01, epsilon=EPSILON, max_iter=EPOCHS, random_state=1, n_iter_no_change=EPOCHS,
    )  # fmt: skip
    first, expected = peer_curve(peer, x, y.ravel())
    curve = train_ours(x, y, first, MeanSquaredError(ACTIVATIONS["identity"]), adam)
    np.testing.assert_allclose(curve, 2 * np.array(expected), rtol=1e-9)
