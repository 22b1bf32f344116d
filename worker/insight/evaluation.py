"""How well a network does on a part of the table: metrics, and where it errs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def evaluate_classes(probabilities: NDArray[Any], labels: NDArray[np.int64], classes: list[str]) -> dict[str, Any]:
    """Every figure of a category, and the confusion matrix: a row a true class, a column a predicted one.

    probabilities: (rows, classes), or (rows, 1) that of the second of two.
    """
    # imported late: scikit-learn takes a second, and most processes never evaluate
    from sklearn import metrics

    if probabilities.shape[1] == 1:
        probabilities = np.concatenate([1 - probabilities, probabilities], axis=1)
    every = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    of_label = probabilities[np.arange(len(labels)), labels]
    ranks = (probabilities > of_label[:, None]).sum(axis=1)
    present = np.unique(labels)
    found = {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced_accuracy": float((confusion.diagonal()[present] / confusion.sum(axis=1)[present]).mean()),
        "macro_f1": float(metrics.f1_score(labels, predicted, labels=every, average="macro", zero_division=0)),
        "roc_auc": _roc_auc(metrics, labels, probabilities, present),
        "log_loss": float(-np.log(np.maximum(of_label, np.finfo(probabilities.dtype).tiny)).mean()),
    }
    found |= {f"top_{k}": float((ranks < k).mean()) for k in (2, 3, 5) if k < len(classes)}
    return {"rows": len(labels), "metrics": found, "confusion": {"classes": classes, "matrix": confusion.tolist()}}


def _roc_auc(metrics: Any, labels: NDArray[np.int64], probabilities: NDArray[Any], present: NDArray[Any]) -> Any:
    """The mean of one class against the rest; None where a class has no rows here, and so no such figure."""
    if len(present) < probabilities.shape[1]:
        return None
    truth = np.eye(probabilities.shape[1])[labels]
    return float(metrics.roc_auc_score(truth, probabilities, average="macro"))


def evaluate_labels(probabilities: NDArray[Any], truth: NDArray[Any], names: list[str]) -> dict[str, Any]:
    """Figures of labels that are each there or not, and of each label the rows rightly and wrongly called.

    probabilities and truth: (rows, labels).
    """
    from sklearn import metrics

    called, there = probabilities > 0.5, truth > 0.5
    varies = all(0 < column.sum() < len(column) for column in there.T)
    tiny = np.finfo(probabilities.dtype).tiny
    return {
        "rows": len(truth),
        "metrics": {
            "accuracy": float((called == there).mean()),
            "all_right": float((called == there).all(axis=1).mean()),
            "macro_f1": float(metrics.f1_score(there, called, average="macro", zero_division=0)),
            "roc_auc": float(metrics.roc_auc_score(there, probabilities, average="macro")) if varies else None,
            "log_loss": float(-np.log(np.maximum(np.where(there, probabilities, 1 - probabilities), tiny)).mean()),
        },
        "labels": {
            name: {
                "true_positive": int((called[:, n] & there[:, n]).sum()),
                "false_positive": int((called[:, n] & ~there[:, n]).sum()),
                "false_negative": int((~called[:, n] & there[:, n]).sum()),
                "true_negative": int((~called[:, n] & ~there[:, n]).sum()),
            }
            for n, name in enumerate(names)
        },
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
