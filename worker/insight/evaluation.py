"""How well a network does on a part of the table: metrics, and where it errs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def logs_of_classes(z: NDArray[Any]) -> NDArray[np.float64]:
    """log p of each class, exact where p itself rounds to 0 or 1: (rows, classes).

    z: the last of one network, (outputs, rows), or of an ensemble, (members, outputs, rows), whose p is the mean of
    theirs. One output is that of the second of two classes.
    """
    z = z.astype(np.float64)
    if z.shape[-2] == 1:
        # sigmoid(z) is softmax of 0 and z
        z = np.concatenate([np.zeros_like(z), z], axis=-2)
    logs = z - np.logaddexp.reduce(z, axis=-2, keepdims=True)
    return _mean_of_members(logs).T


def logs_of_labels(z: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log p of each label's being there, and of its not being there: each (rows, labels). z: as above."""
    z = z.astype(np.float64)
    there, absent = (_mean_of_members(-np.logaddexp(0, sign * z)).T for sign in (-1, 1))
    return there, absent


def _mean_of_members(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of the mean of e^logs over an ensemble's members."""
    if logs.ndim == 2:
        return logs
    mean: NDArray[np.float64] = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return mean


def evaluate_classes(
    scores: NDArray[Any], labels: NDArray[np.int64], classes: list[str], *, are_logs: bool = True
) -> dict[str, Any]:
    """Every figure of a category, and the confusion matrix: a row a true class, a column a predicted one.

    scores: (rows, classes), the largest is the predicted one's; are_logs: they are from `logs_of_classes`, and not of
    a network whose outputs are no probabilities.
    """
    # imported late: scikit-learn takes a second, and most processes never evaluate
    from sklearn import metrics

    every = np.arange(len(classes))
    predicted = scores.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    of_label = scores[np.arange(len(labels)), labels]
    ranks = (scores > of_label[:, None]).sum(axis=1)
    present = np.unique(labels)
    found = {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced_accuracy": float((confusion.diagonal()[present] / confusion.sum(axis=1)[present]).mean()),
        "macro_f1": float(metrics.f1_score(labels, predicted, labels=every, average="macro", zero_division=0)),
        "roc_auc": _roc_auc(metrics, labels, np.exp(scores), present) if are_logs else None,
        # from 0: the mean of a perfect answer is -0.0
        "log_loss": 0.0 - float(of_label.mean()) if are_logs else None,
    }
    found |= {f"top_{k}": float((ranks < k).mean()) for k in (2, 3, 5) if k < len(classes)}
    return {"rows": len(labels), "metrics": found, "confusion": {"classes": classes, "matrix": confusion.tolist()}}


def _roc_auc(metrics: Any, labels: NDArray[np.int64], probabilities: NDArray[Any], present: NDArray[Any]) -> Any:
    """The mean of one class against the rest; None where a class has no rows here, and so no such figure."""
    if len(present) < probabilities.shape[1]:
        return None
    truth = np.eye(probabilities.shape[1])[labels]
    return float(metrics.roc_auc_score(truth, probabilities, average="macro"))


def evaluate_labels(
    logs: tuple[NDArray[np.float64], NDArray[np.float64]], truth: NDArray[Any], names: list[str]
) -> dict[str, Any]:
    """Figures of labels that are each there or not, and of each label the rows rightly and wrongly called.

    logs: from `logs_of_labels`. truth: (rows, labels).
    """
    from sklearn import metrics

    called, there = logs[0] > logs[1], truth > 0.5
    varies = all(0 < column.sum() < len(column) for column in there.T)
    return {
        "rows": len(truth),
        "metrics": {
            "accuracy": float((called == there).mean()),
            "all_right": float((called == there).all(axis=1).mean()),
            "macro_f1": float(metrics.f1_score(there, called, average="macro", zero_division=0)),
            "roc_auc": float(metrics.roc_auc_score(there, np.exp(logs[0]), average="macro")) if varies else None,
            "log_loss": 0.0 - float(np.where(there, *logs).mean()),
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
