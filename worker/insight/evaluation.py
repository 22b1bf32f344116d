"""How well a network does on a part of the table: metrics, and where it errs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def evaluate_classes(probabilities: NDArray[Any], labels: NDArray[np.int64], classes: list[str]) -> dict[str, Any]:
    """Accuracy, macro F1, log loss, and the confusion matrix: a row a true class, a column a predicted one.

    probabilities: (rows, classes).
    """
    # imported late: scikit-learn takes a second, and most processes never evaluate
    from sklearn import metrics

    every = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    return {
        "rows": len(labels),
        "metrics": {
            "accuracy": float(metrics.accuracy_score(labels, predicted)),
            "macro_f1": float(metrics.f1_score(labels, predicted, labels=every, average="macro", zero_division=0)),
            "log_loss": float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-38)).mean()),
        },
        "confusion": {"classes": classes, "matrix": metrics.confusion_matrix(labels, predicted, labels=every).tolist()},
    }


def evaluate_numbers(predicted: NDArray[Any], actual: NDArray[Any], names: list[str]) -> dict[str, Any]:
    """R2, RMSE and MAE in the target's own units, and quantiles of the residuals (actual - predicted) by target.

    Both arrays: (rows, outputs).
    """
    from sklearn import metrics

    residuals = actual - predicted
    return {
        "rows": len(actual),
        "metrics": {
            "r2": float(metrics.r2_score(actual, predicted)) if len(actual) > 1 else None,
            "rmse": float(np.sqrt((residuals**2).mean())),
            "mae": float(np.abs(residuals).mean()),
        },
        "residuals": {
            name: {"quantiles": list(QUANTILES), "values": np.quantile(residuals[:, n], QUANTILES).tolist()}
            for n, name in enumerate(names)
        },
    }
