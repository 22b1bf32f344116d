"""scikit-learn's multilayer perceptron, in float32."""

import warnings
from collections.abc import Callable

from sklearn.neural_network import MLPClassifier, MLPRegressor

from tests.benchmarks.workloads import RATE, Workload


def start(workload: Workload) -> Callable[[], int]:
    warnings.simplefilter("ignore")
    x, y = workload.table()
    kind = MLPRegressor if workload.loss == "squared" else MLPClassifier
    # a fit checks its table first; in one of many epochs that counts little
    epochs = max(1, 10_000 // workload.rows)
    model = kind(
        hidden_layer_sizes=workload.sizes[1:-1], batch_size=workload.batch,
        learning_rate_init=RATE, alpha=0, max_iter=epochs, tol=0,
        n_iter_no_change=10**9, warm_start=True,
    )  # fmt: skip
    targets = y.ravel()

    def fit() -> int:
        model.n_iter_ = 0
        model.fit(x, targets)
        return epochs

    return fit
