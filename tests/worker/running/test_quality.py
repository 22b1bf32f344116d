"""Networks as good as scikit-learn's: at equal settings, from equal first weights, on rows that were not trained on."""

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from worker.backprop.activations import ACTIVATIONS
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers.dense import Dense
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import MeanSquaredError
from worker.backprop.losses.objective import Objective
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam
from worker.backprop.plan import Plan
from worker.backprop.schedules import Schedule
from worker.data.sources import make_table
from worker.specs.dataset import BuiltinDataset

SEEDS = range(10)
UNITS, EPOCHS, BATCH = 32, 60, 32
HALF_A_POINT = 0.005


def table(name: str) -> tuple[Any, Any]:
    """Return the standardised columns (rows, features), and labels or a standardised target."""
    source = make_table(BuiltinDataset.model_validate({"source": "builtin", "name": name}))
    *features, target = source.column_names
    x = np.stack([source[column].to_numpy() for column in features], axis=1).astype(np.float64)
    scale = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(scale > 0, scale, 1)
    y = source[target].to_numpy(zero_copy_only=False)
    if name == "diabetes":
        return x, ((y - y.mean()) / y.std())[:, None]
    return x, np.unique(y.astype(str), return_inverse=True)[1]


def peers_score(x: Any, y: Any, x_test: Any, y_test: Any, seed: int) -> tuple[float, list[Any]]:
    """Return scikit-learn's figure on the test rows, and the weights that it began with."""
    kind = MLPRegressor if y.ndim > 1 else MLPClassifier
    options: dict[str, Any] = {
        "hidden_layer_sizes": (UNITS,), "alpha": 0.0, "batch_size": BATCH, "learning_rate_init": 0.001,
        "random_state": seed, "tol": 0.0, "n_iter_no_change": 10**6,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = kind(**options | {"max_iter": 1, "learning_rate_init": 1e-300}).fit(x, y.ravel())
        peer = kind(**options, max_iter=EPOCHS).fit(x, y.ravel())
    return peer.score(x_test, y_test.ravel()), [*first.coefs_, *first.intercepts_]


def our_score(x: Any, y: Any, x_test: Any, y_test: Any, seed: int, weights: list[Any]) -> float:
    numbers = y.ndim > 1
    outputs = weights[1].shape[1]
    objective: Objective = SoftmaxCrossEntropy() if outputs > 1 else BinaryCrossEntropy()
    if numbers:
        objective = MeanSquaredError(ACTIVATIONS["identity"])
    network = Network(
        [
            Dense(x.shape[1], UNITS, ACTIVATIONS["relu"], INITIALIZERS["zeros"]),
            Dense(UNITS, outputs, objective.activation, INITIALIZERS["zeros"]),
        ]
    )
    training = Training(
        network,
        objective,
        Adam,
        Schedule(),
        Plan(EPOCHS, BATCH, 0.001, seed=seed),
        train=Part.of(x, y),
        metrics={},
    )
    names = ["layers.0.w", "layers.1.w", "layers.0.b", "layers.1.b"]
    training.parameters.load(dict(zip(names, weights, strict=True)))
    list(training.run(lambda: False))
    a = network.forward(training.final, x_test).T
    return r2(a, y_test) if numbers else accuracy(a, y_test)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_results_are_as_good_as_scikit_learns(name: str) -> None:
    """Ten splits and seeds, each run by both: the mean difference is no worse than half a point."""
    x, y = table(name)
    differences = []
    for seed in SEEDS:
        stratify = y if y.ndim == 1 else None
        x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=stratify)
        theirs, weights = peers_score(x_train, y_train, x_test, y_test, seed)
        differences.append(our_score(x_train, y_train, x_test, y_test, seed, weights) - theirs)
    print(f"{name}: {np.mean(differences):+.4f} (standard error {np.std(differences) / np.sqrt(len(SEEDS)):.4f})")
    assert np.mean(differences) > -HALF_A_POINT
