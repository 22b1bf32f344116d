"""Encodes the rows and targets of a question in float64, as training encoded the job's table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worker.backprop.arrays import Targets
from worker.backprop.losses.objective import Bounds
from worker.data.cells import Lookup, numbered
from worker.data.encoders import ClassTarget, LabelsTarget, Matrix, Target, encode_targets
from worker.data.encoding import encode_table
from worker.data.joined import with_targets
from worker.errors import DataError, QuestionError
from worker.insight.subject import Subject
from worker.networks.rows import RowEncoder

LARGEST = 1e300
PLACES = 64
"The most places of a table from which rows are read for a question about many of them."

Encoded = tuple[Matrix, Targets]


def posted_rows(subject: Subject, rows: Sequence[Any], targets: Sequence[Any], *, many: bool) -> Encoded:
    """Return rows of raw values, and their targets, as x and y. Raises QuestionError.

    rows: in the form that a prediction takes.
    targets: one for each row: a class, or numbers in the user's own units.
    many: whether the question calls them `rows` and `targets` rather than `row` and `target`, for pointers.
    """
    try:
        x = RowEncoder(subject.encoders, np.float64).encode(rows).x
    except DataError as error:
        place = f"/rows/{error.row or 0}" if many else "/row"
        column = "" if error.column is None else f"column {error.column[:64]!r} "
        raise QuestionError(place, column + error.detail) from error
    return x, _targets(subject, targets, len(rows), many=many)


def known_rows(rows: Sequence[int], count: int, *, many: bool) -> Sequence[int]:
    """Return the numbers of the rows that a question asks about. Raises QuestionError for one past the table's end.

    count: how many rows the table has.
    many: whether the question calls them `dataset_rows` rather than `dataset_row`.
    """
    for n, row in enumerate(rows):
        if row >= count:
            pointer = f"/dataset_rows/{n}" if many else "/dataset_row"
            raise QuestionError(pointer, f"must be from 0 to {count - 1}: the table has {count} rows")
    return rows


def spread_rows(most: int, count: int) -> Sequence[int]:
    """Return the numbers of at most this many rows: all of them, or some from evenly spaced places.

    A table may be sorted, so there are many places. Rows that are next to each other are read together, so a place
    has several rows if more rows are wanted than there are places.
    """
    if count <= most:
        return list(range(count))
    places = min(most, PLACES)
    run = most // places
    first = np.linspace(0, count - run, places).astype(np.int64)
    chosen: list[int] = (first[:, None] + np.arange(run)).ravel().tolist()
    return chosen


def measured_rows(subject: Subject, table: pa.Table) -> Encoded:
    """Return those rows of the job's own table that have a target as x and y. Raises QuestionError if none has."""
    try:
        return table_rows(subject, with_targets(table, _target_names(subject))[0])
    except DataError as error:
        raise QuestionError("", error.detail) from error


def _target_names(subject: Subject) -> tuple[str, ...]:
    target = subject.encoders.target
    return (target.name,) if isinstance(target, ClassTarget) else target.names


def table_rows(
    subject: Subject, table: pa.Table, targets: Sequence[Any] | None = None, *, many: bool = True
) -> Encoded:
    """Return rows of the job's own table as x and y. Raises QuestionError.

    targets: targets that replace those of the table; None to keep those.
    many: whether the question calls them `targets` rather than `target`.
    """
    if targets is None:
        for name in _target_names(subject):
            row = pc.index(table[name].is_null(), pa.scalar(value=True)).as_py()
            if row >= 0:
                pointer = f"/dataset_rows/{row}" if many else "/dataset_row"
                raise QuestionError(pointer, "has no target: name one", code="invalid")
    x = encode_table(table, subject.encoders, pool_unknown=True, dtype=np.float64)
    if targets is None:
        return x, encode_targets(table, subject.encoders.target)
    return x, _targets(subject, targets, table.num_rows, many=many)


def _targets(subject: Subject, given: Sequence[Any], rows: int, *, many: bool) -> Targets:
    if len(given) != rows:
        raise QuestionError("/targets", f"must be {rows}, one for each row; got {len(given)}")
    target, bounds = subject.encoders.target, subject.task.objective.bounds
    encoded = [_target(one, target, f"/targets/{n}" if many else "/target", bounds) for n, one in enumerate(given)]
    return np.concatenate(encoded)


def _target(given: Any, target: Target, pointer: str, bounds: Bounds | None) -> Targets:
    """Return the target of one row: a label, (1,), or numbers standardised as in training, (1, outputs).

    bounds: the range of numbers that the loss allows. Raises QuestionError at the pointer.
    """
    if isinstance(target, ClassTarget):
        number = Lookup(numbered(target.classes)).find(given) if isinstance(given, str | int | float) else None
        if number is None:
            shown = ", ".join(target.classes[:10])
            raise QuestionError(pointer, f"must be a class of {target.name!r}, such as: {shown}")
        return np.array([number])
    values = [_number(value, pointer) for value in _by_column(given, target.names, pointer)]
    if isinstance(target, LabelsTarget):
        if not {0.0, 1.0}.issuperset(values):
            raise QuestionError(pointer, "must be 0 or 1 for each label")
        return np.array([values])
    if bounds is not None and not all(bounds.lowest <= value <= bounds.highest for value in values):
        raise QuestionError(pointer, f"must be {bounds.one}")
    return (np.array([values]) - target.means) / target.scales


def _by_column(given: Any, names: Sequence[str], pointer: str) -> list[Any]:
    """Return the values in the order of the target's columns."""
    if isinstance(given, dict):
        if set(given) != set(names):
            raise QuestionError(pointer, f"must have these members: {', '.join(names[:10])}")
        return [given[name] for name in names]
    values = given if isinstance(given, list) else [given]
    if len(values) != len(names):
        raise QuestionError(pointer, f"must be {len(names)} numbers, got {len(values)}")
    return values


def _number(value: Any, pointer: str) -> float:
    if type(value) not in (int, float) or abs(value) > LARGEST:
        raise QuestionError(pointer, "must be a number")
    return float(value)
