"""Evaluates a network's predictions on a part of the table: its metrics, and where it is wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def logs_of_classes(z: NDArray[Any]) -> NDArray[np.float64]:
    """Return log p of each class, (rows, classes), exact where p itself rounds to 0 or 1.

    z: the last z of one network, (outputs, rows), or of an ensemble, (members, outputs, rows). An ensemble's p is the
        mean of its members' p. A single output belongs to the second of two classes.
    """
    z = z.astype(np.float64)
    if z.shape[-2] == 1:
        # sigmoid(z) is softmax of 0 and z
        z = np.concatenate([np.zeros_like(z), z], axis=-2)
    logs = z - np.logaddexp.reduce(z, axis=-2, keepdims=True)
    return _mean_of_members(logs).T


def logs_of_labels(z: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log p that each label applies, and log p that it does not: each (rows, labels).

    z: the last z, as in `logs_of_classes`.
    """
    z = z.astype(np.float64)
    applies, not_applies = (_mean_of_members(-np.logaddexp(0, sign * z)).T for sign in (-1, 1))
    return applies, not_applies


def _mean_of_members(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log of the mean of e^logs over an ensemble's members."""
    if logs.ndim == 2:
        return logs
    mean: NDArray[np.float64] = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return mean


def evaluate_classes(
    scores: NDArray[Any],
    labels: NDArray[np.int64],
    classes: list[str],
    weights: NDArray[Any] | None = None,
    *,
    are_logs: bool = True,
) -> dict[str, Any]:
    """Return every metric for a category, and the confusion matrix: true classes by row, predicted ones by column.

    scores: (rows, classes); the class with the largest score is the prediction.
    weights: of the rows in the metrics, (rows,); None if all count the same. The confusion matrix counts rows.
    are_logs: True if the scores are from `logs_of_classes`; False if they are outputs that are not probabilities.
    """
    # imported late: importing scikit-learn takes a second, and most processes never evaluate
    from sklearn import metrics

    every = np.arange(len(classes))
    predicted = scores.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    of_label = scores[np.arange(len(labels)), labels]
    ranks = (scores > of_label[:, None]).sum(axis=1)
    present, own = np.unique(labels), {"sample_weight": weights}
    counted = metrics.confusion_matrix(labels, predicted, labels=every, **own)
    has_weight = present[counted.sum(axis=1)[present] > 0]
    found = {
        "accuracy": float(metrics.accuracy_score(labels, predicted, **own)),
        "balanced_accuracy": float((counted.diagonal()[has_weight] / counted.sum(axis=1)[has_weight]).mean()),
        "macro_f1": float(metrics.f1_score(labels, predicted, labels=every, average="macro", zero_division=0, **own)),
        "roc_auc": _roc_auc(metrics, labels, np.exp(scores), has_weight, weights) if are_logs else None,
        # subtracted from 0: the mean for perfect predictions is -0.0
        "log_loss": 0.0 - float(np.average(of_label, weights=weights)) if are_logs else None,
    }
    found |= {f"top_{k}": float(np.average(ranks < k, weights=weights)) for k in (2, 3, 5) if k < len(classes)}
    return {"rows": len(labels), "metrics": found, "confusion": {"classes": classes, "matrix": confusion.tolist()}}


def _roc_auc(
    metrics: Any,
    labels: NDArray[np.int64],
    probabilities: NDArray[Any],
    present: NDArray[Any],
    weights: NDArray[Any] | None,
) -> Any:
    """Return ROC AUC, one class against the rest, averaged over the classes; None if a class has no rows."""
    if len(present) < probabilities.shape[1]:
        return None
    truth = np.eye(probabilities.shape[1])[labels]
    return float(metrics.roc_auc_score(truth, probabilities, average="macro", sample_weight=weights))


def evaluate_labels(
    logs: tuple[NDArray[np.float64], NDArray[np.float64]],
    truth: NDArray[Any],
    names: list[str],
    weights: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Return the metrics for labels that each apply or not, and the right and wrong predictions of each label.

    logs: from `logs_of_labels`. truth: (rows, labels), 0 or 1. weights: as in `evaluate_classes`.
    """
    from sklearn import metrics

    predicted, applies = logs[0] > logs[1], truth > 0.5
    counting = slice(None) if weights is None else weights > 0
    varies = all(0 < column.sum() < len(column) for column in applies[counting].T)
    own = {"average": "macro", "sample_weight": weights}
    return {
        "rows": len(truth),
        "metrics": {
            "accuracy": float(np.average((predicted == applies).mean(axis=1), weights=weights)),
            "all_right": float(np.average((predicted == applies).all(axis=1), weights=weights)),
            "macro_f1": float(metrics.f1_score(applies, predicted, zero_division=0, **own)),
            "roc_auc": float(metrics.roc_auc_score(applies, np.exp(logs[0]), **own)) if varies else None,
            "log_loss": 0.0 - float(np.average(np.where(applies, *logs).mean(axis=1), weights=weights)),
        },
        "labels": {
            name: {
                "true_positive": int((predicted[:, n] & applies[:, n]).sum()),
                "false_positive": int((predicted[:, n] & ~applies[:, n]).sum()),
                "false_negative": int((~predicted[:, n] & applies[:, n]).sum()),
                "true_negative": int((~predicted[:, n] & ~applies[:, n]).sum()),
            }
            for n, name in enumerate(names)
        },
    }


def evaluate_numbers(
    predicted: NDArray[Any], actual: NDArray[Any], names: list[str], weights: NDArray[Any] | None = None
) -> dict[str, Any]:
    """Return R2, RMSE and MAE in the target's own units, and quantiles of each target's residuals.

    A residual is actual - predicted. Both arrays: (rows, outputs). weights: as in `evaluate_classes`.
    """
    from sklearn import metrics

    residuals = actual - predicted
    return {
        "rows": len(actual),
        "metrics": {
            "r2": float(metrics.r2_score(actual, predicted, sample_weight=weights)) if len(actual) > 1 else None,
            "rmse": float(np.sqrt(np.average((residuals**2).mean(axis=1), weights=weights))),
            "mae": float(np.average(np.abs(residuals).mean(axis=1), weights=weights)),
        },
        "residuals": {
            name: {"quantiles": list(QUANTILES), "values": np.quantile(residuals[:, n], QUANTILES).tolist()}
            for n, name in enumerate(names)
        },
    }
