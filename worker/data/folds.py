"""The folds of cross-validation: each row of the training part is held out of one of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.data.splits import Rows, split_rows
from worker.errors import DataError, SpecError
from worker.specs.training import RandomSplit, Training


def check_folds(training: Training) -> None:
    """Raise SpecError for settings that contradict the folds."""
    if training.validation.folds is None:
        return
    if training.ensemble > 1:
        raise SpecError("/training/ensemble", "must be 1 with folds, each of which has a network of its own")
    if not isinstance(training.split, RandomSplit):
        raise SpecError("/training/validation/folds", "divide rows at random; leave the split's rule out")
    if training.validation.dataset is not None:
        raise SpecError("/training/validation/folds", "are of the job's own table; leave the dataset out")


def fold_rows(training: Training, rows: int) -> int:
    """Return how many of these rows the largest fold has. Raises SpecError if they are too few for the folds."""
    folds = training.validation.folds or 1
    if rows < 2 * folds:
        raise SpecError("/training/validation/folds", f"need two rows each; there are {rows} for {folds} folds")
    return -(-rows // folds)


def cut_folds(rows: Rows, training: Training, labels: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return the fold of each of these rows, (rows,), by the seed; None without cross-validation.

    labels: the class numbers of a categorical target, for all rows of the table. Raises DataError if the folds must be
    stratified and can't be.
    """
    # imported late: scikit-learn takes a second, and processes that only serve never split
    from sklearn.model_selection import KFold, StratifiedKFold

    validation, seed = training.validation, training.seed % 2**32
    if validation.folds is None:
        return None
    if len(rows) < 2 * validation.folds:
        raise DataError(f"there are {len(rows)} rows to train on, and {validation.folds} folds need two each")
    own = None if labels is None or validation.stratify is False else labels[rows]
    if own is not None and np.unique(own, return_counts=True)[1].min() < validation.folds:
        if validation.stratify:
            raise DataError("a class has fewer rows than there are folds: set stratify to false, or take fewer")
        own = None
    kind = KFold if own is None else StratifiedKFold
    cutter = kind(validation.folds, shuffle=True, random_state=seed)
    fold_of = np.empty(len(rows), np.int64)
    for n, (_, held) in enumerate(cutter.split(np.empty((len(rows), 0)), own)):
        fold_of[held] = n
    return fold_of


def check_stratified_folds(training: Training, counts: Sequence[int]) -> None:
    """Raise SpecError if folds that must be stratified can't be. counts: how many rows each class has."""
    if training.validation.folds is None or not training.validation.stratify:
        return
    labels = np.repeat(np.arange(len(counts)), counts)
    try:
        cut_folds(split_rows(len(labels), training, labels).train, training, labels)
    except DataError as error:
        raise SpecError("/training/validation/stratify", error.detail) from error
