"""The split of a table's rows into training, validation and test parts. It is a function of settings and seed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from worker.data.profiles import ColumnProfile
from worker.errors import DataError, SpecError
from worker.specs.training import ColumnSplit, GroupedSplit, OrderedSplit, RandomSplit, Test, Training, Validation

# with fewer rows, a validation part is too small to mean anything
ROWS_FOR_VALIDATION = 20
PARTS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "test": "test"}
"What a column may call the parts, in any case."

Rows = NDArray[np.int64]


class Split(NamedTuple):
    """The row numbers of each part, in the table's order. A part that has a table of its own is None."""

    train: Rows
    validation: Rows | None
    test: Rows | None


class Wanted(NamedTuple):
    """The parts that are to be cut from the table itself; None for one that is not."""

    validation: Validation | None
    test: Test | None


def wanted_parts(training: Training, rows: int) -> Wanted:
    validation, test = training.validation, training.test
    is_other = validation.dataset is not None or validation.folds is not None
    is_cut = rows >= ROWS_FOR_VALIDATION and validation.fraction > 0 and not is_other
    return Wanted(validation if is_cut else None, test if test and test.dataset is None else None)


def check_split(training: Training) -> None:
    """Raise SpecError for settings of the parts that contradict how the rows are divided."""
    parts: dict[str, Validation | Test | None] = {"validation": training.validation, "test": training.test}
    for name, part in parts.items():
        if part is None:
            continue
        # a job's specification can be posted again with all of its defaults
        is_changed = bool(part.stratify) or part.fraction != type(part).model_fields["fraction"].default
        if part.stratify and not isinstance(training.split, RandomSplit):
            raise SpecError(f"/training/{name}/stratify", "is for rows that are divided at random")
        if isinstance(part, Validation) and part.folds is not None and part.fraction != Validation().fraction:
            raise SpecError("/training/validation/fraction", "is not for folds, which are as many parts")
        if part.dataset is not None and is_changed:
            raise SpecError(f"/training/{name}/dataset", "is the whole part: leave fraction and stratify out")
        if isinstance(training.split, ColumnSplit) and (is_changed or part.dataset is not None):
            raise SpecError(f"/training/{name}", "is chosen by the split's column: leave its settings out")


def part_rows(training: Training, rows: int, column: ColumnProfile | None = None) -> dict[str, int]:
    """Return how many rows each part gets. For a grouped split these counts are approximate.

    column: the profile of the split's column. Raises SpecError if a part that is asked for would have none.
    """
    if isinstance(training.split, ColumnSplit):
        return _marked_rows(column)
    wanted = wanted_parts(training, rows)
    sizes = {name: round(part.fraction * rows) if part else 0 for name, part in wanted._asdict().items()}
    for name, part in (("test", wanted.test), ("validation", wanted.validation)):
        if part and not sizes[name]:
            raise SpecError(f"/training/{name}/fraction", f"{part.fraction:g} of {rows} rows is less than one row")
    train = rows - sum(sizes.values())
    if train < 1:
        detail = f"with the test part it takes {sum(sizes.values())} of {rows} rows; none is left to train on"
        raise SpecError("/training/validation/fraction", detail)
    return {"train": train} | sizes


def _marked_rows(column: ColumnProfile | None) -> dict[str, int]:
    """Return how many rows a column gives to each part. Raises SpecError."""
    sizes = {"train": 0, "validation": 0, "test": 0}
    if column is None or column.categories is None or column.counts is None:
        raise SpecError("/training/split/column", "must have the texts train, validation and test; upload it again")
    for text, count in zip(column.categories, column.counts, strict=True):
        if text.lower() not in PARTS:
            raise SpecError("/training/split/column", f"has {text[:64]!r}, which is not train, validation or test")
        sizes[PARTS[text.lower()]] += count
    if not sizes["train"]:
        raise SpecError("/training/split/column", "puts no row in the part train")
    return sizes


def split_table(table: pa.Table, training: Training, labels: NDArray[np.int64] | None = None) -> Split:
    """Return the parts of a table. Raises DataError, as `split_rows` does, and for a cell that its rule can't read.

    labels: as for `split_rows`.
    """
    rule = training.split
    if isinstance(rule, RandomSplit):
        return split_rows(table.num_rows, training, labels)
    column = table[rule.column]
    match rule:
        case GroupedSplit():
            groups = pc.dictionary_encode(column.combine_chunks()).indices.to_numpy()
            return _in_turn(training, len(groups), lambda rows, size: _cut_groups(rows, size, groups, training.seed))
        case OrderedSplit():
            moments = column.to_numpy()
            return _in_turn(training, len(moments), lambda rows, size: _cut_last(rows, size, moments))
        case ColumnSplit():
            return _marked(column, rule.column)
        case _:
            assert_never(rule)


def split_rows(rows: int, training: Training, labels: NDArray[np.int64] | None) -> Split:
    """Return the parts that the training's fractions ask for, at random.

    labels: the class numbers of a categorical target, (rows,), for stratifying. Raises DataError if no row is left to
    train on, or if a part that must be stratified can't be.
    """
    every = np.arange(rows)
    wanted = wanted_parts(training, rows)
    kept, test = _cut(every, wanted.test, "test", training.seed, labels)
    # the validation fraction is of the whole table, as the test fraction is
    train, validation = _cut(kept, wanted.validation, "validation", training.seed, labels, of=rows)
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


def _in_turn(training: Training, rows: int, cut: Callable[[Rows, int], Rows]) -> Split:
    """Cut the test part, and then the validation part from what is left.

    cut: given rows and a count, returns about that many of these rows.
    """
    parts: dict[str, Rows | None] = {"validation": None, "test": None}
    left = np.arange(rows)
    wanted = wanted_parts(training, rows)
    for name, part in (("test", wanted.test), ("validation", wanted.validation)):
        if part is None:
            continue
        chosen = cut(left, round(part.fraction * rows))
        if not 0 < len(chosen) < len(left):
            raise DataError(f"no row is left to the {name} part, or beside it: change its fraction or the split")
        parts[name], left = chosen, np.setdiff1d(left, chosen)
    return Split(left, **parts)


def _cut_groups(rows: Rows, size: int, groups: NDArray[np.int64], seed: int) -> Rows:
    """Return the rows of as many groups, in an order by the seed, as come nearest to this many rows."""
    own = groups[rows]
    names, counts = np.unique(own, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    reached = np.cumsum(counts[order])
    # one group at least, and not all of them
    count = min(max(1, int(np.argmin(np.abs(reached - size))) + 1), len(names) - 1)
    return rows[np.isin(own, names[order[:count]])]


def _cut_last(rows: Rows, size: int, moments: NDArray[np.generic]) -> Rows:
    """Return the last rows in the order of a column, of equal cells those that are last in the table.

    rows: ascending. moments: the cells of the whole column.
    """
    return np.sort(rows[np.argsort(moments[rows], kind="stable")[len(rows) - size :]])


def _marked(column: pa.ChunkedArray, name: str) -> Split:
    parts = np.array([PARTS.get(str(cell).lower(), "") for cell in column.to_pylist()])
    found = {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}
    if not len(found["train"]) or sum(map(len, found.values())) < len(parts):
        raise DataError("each row must be in the part train, validation or test, and one in train", column=name)
    train, *others = found.values()
    return Split(train, *(rows if len(rows) else None for rows in others))
