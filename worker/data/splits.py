"""The split of a table's rows into training, validation and test parts. It is a function of settings and seed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.errors import DataError, SpecError
from worker.specs.training import Test, Training, Validation

# with fewer rows, a validation part is too small to mean anything
ROWS_FOR_VALIDATION = 20

Rows = NDArray[np.int64]


class Split(NamedTuple):
    """The row numbers of each part, in the table's order."""

    train: Rows
    validation: Rows | None
    test: Rows | None


def part_rows(training: Training, rows: int) -> dict[str, int]:
    """Return how many rows each part gets. Raises SpecError if a part that is asked for would have none."""
    test = round(training.test.fraction * rows) if training.test else 0
    validation = round(training.validation.fraction * rows) if rows >= ROWS_FOR_VALIDATION else 0
    for name, size, asked in (("test", test, training.test), ("validation", validation, training.validation)):
        if asked and asked.fraction and not size and (name == "test" or rows >= ROWS_FOR_VALIDATION):
            raise SpecError(f"/training/{name}/fraction", f"{asked.fraction:g} of {rows} rows is less than one row")
    train = rows - test - validation
    if train < 1:
        detail = f"with the test part it takes {validation + test} of {rows} rows; none is left to train on"
        raise SpecError("/training/validation/fraction", detail)
    return {"train": train, "validation": validation, "test": test}


def split_rows(rows: int, training: Training, labels: NDArray[np.int64] | None) -> Split:
    """Return the parts that the training's fractions ask for.

    labels: the class numbers of a categorical target, (rows,), for stratifying. Raises DataError if no row is left to
    train on, or if a part that must be stratified can't be.
    """
    every = np.arange(rows)
    kept, test = _cut(every, training.test, "test", training.seed, labels)
    wanted = training.validation if rows >= ROWS_FOR_VALIDATION and training.validation.fraction > 0 else None
    # the validation fraction is of the whole table, as the test fraction is
    train, validation = _cut(kept, wanted, "validation", training.seed, labels, of=rows)
    return Split(train, validation, test)


def check_stratified(training: Training, counts: Sequence[int]) -> None:
    """Raise SpecError if a part that must be stratified can't be, as `split_rows` would by the same numbers.

    counts: how many rows each class has. Which rows they are makes no difference to how many of each a part gets.
    """
    if training.validation.stratify or (training.test is not None and training.test.stratify):
        try:
            split_rows(sum(counts), training, np.repeat(np.arange(len(counts)), counts))
        except DataError as error:
            raise SpecError("/training", error.detail) from error


def _cut(
    rows: Rows,
    part: Validation | Test | None,
    name: str,
    seed: int,
    labels: NDArray[np.int64] | None,
    *,
    of: int | None = None,
) -> tuple[Rows, Rows | None]:
    # imported late: scikit-learn takes a second, and processes that only serve never split
    from sklearn.model_selection import train_test_split

    if part is None:
        return rows, None
    size = round(part.fraction * (of or len(rows)))
    if not 0 < size < len(rows):
        raise DataError(
            f"a {name} part of {part.fraction} leaves {size} of {len(rows)} rows to it: change the fraction"
        )
    stratify = None if labels is None or part.stratify is False else labels[rows]
    if stratify is not None:
        counts = np.unique(stratify, return_counts=True)[1]
        if counts.min() < 2 or min(size, len(rows) - size) < len(counts):
            if part.stratify:
                raise DataError(f"a class has too few rows for a stratified {name} part: set its stratify to false")
            stratify = None
    kept, cut = train_test_split(rows, test_size=size, random_state=seed % 2**32, stratify=stratify)
    return np.sort(kept), np.sort(cut)
