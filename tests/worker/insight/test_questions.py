"""The rows and targets of a question: encoded as in training, and refused at the place of the fault."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.worker.insight.conftest import build_subject, dense, subject_of
from worker.data.encoders import NumberTarget
from worker.errors import QuestionError
from worker.insight.questions import known_rows, posted_rows, spread_rows, table_rows
from worker.insight.subject import Subject

ROW = [0.5, -1.0, 2.0]


def table(rows: int = 10) -> pa.Table:
    """Return rows that say which they are, with two targets."""
    n = np.arange(rows, dtype=np.float64)
    return pa.table({"x0": n, "x1": n / 2, "x2": -n, "y0": n + 1, "y1": n % 2})


def scaled() -> Subject:
    """Return a network whose targets have the mean 10 and the scale 2."""
    plain = subject_of([dense(2)])
    target = NumberTarget(names=("y0", "y1"), means=(10.0, 10.0), scales=(2.0, 2.0))
    return build_subject(plain.spec, plain.encoders.model_copy(update={"target": target}), 2, "identity")


def test_a_posted_row_is_encoded_in_float64_and_its_target_standardised() -> None:
    """The columns keep their order; 14 with mean 10 and scale 2 is 2, given as a list or by name."""
    subject = scaled()
    x, y = posted_rows(subject, [ROW, ROW], [[14, 10], {"y1": 6, "y0": 10}], many=True)
    np.testing.assert_array_equal(x, [ROW, ROW])
    assert x.dtype == np.float64
    np.testing.assert_array_equal(y, [[2, 0], [0, -2]])


def test_rows_of_the_table_have_its_targets_unless_others_are_given() -> None:
    """Row 7 has the number 7; a target that is posted replaces the table's."""
    subject = subject_of([dense(2)])
    x, y = table_rows(subject, table().take([7, 3]))
    np.testing.assert_array_equal(x[:, 0], [7, 3])
    np.testing.assert_array_equal(y, [[8, 1], [4, 1]])
    _, replaced = table_rows(subject, table().take([7]), [[0, 5]], many=False)
    np.testing.assert_array_equal(replaced, [[0, 5]])


def test_a_sample_is_evenly_spaced_and_never_larger_than_the_table() -> None:
    """Four of ten rows include the first and the last; more than there are gives each row once."""
    assert spread_rows(4, 10) == [0, 3, 6, 9]
    assert spread_rows(99, 10) == list(range(10))


def test_a_large_sample_is_from_a_bounded_number_of_places() -> None:
    """256 rows of a million are 64 runs of 4, from the first row to the last; 100 are one of each of 64 places."""
    rows = np.array(spread_rows(256, 1_000_000)).reshape(64, 4)
    assert np.diff(rows).tolist() == [[1] * 3] * 64
    assert (rows.min(), rows.max()) == (0, 999_999)
    gaps = np.diff(rows[:, 0])
    assert gaps.max() - gaps.min() <= 1
    assert len(set(spread_rows(100, 101))) == 64


@pytest.mark.parametrize(
    ("loss", "targets", "many", "pointer", "said"),
    [
        ("mean_squared_error", [[1, 2]], True, "/targets", "must be 2, one for each row; got 1"),
        ("mean_squared_error", [[1, 2], [1]], True, "/targets/1", "must be 2 numbers, got 1"),
        ("mean_squared_error", [[1, 2], [1, "a"]], True, "/targets/1", "must be a number"),
        ("mean_squared_error", [[1, 2], {"y0": 1}], True, "/targets/1", "must have these members: y0, y1"),
        ("poisson", [[1, 2], [1, -1]], True, "/targets/1", "must be a count, 0 or more"),
        ("binary_cross_entropy", [[1, 0], [1, 0.5]], True, "/targets/1", "must be 0 or 1 for each label"),
        ("cross_entropy", ["y0", "y7"], True, "/targets/1", "must be a class of 'label', such as: y0, y1"),
        ("poisson", [[-1, 2]], False, "/target", "must be a count"),
    ],
)
def test_a_target_that_does_not_fit_is_pointed_at(
    loss: str, targets: list[Any], many: bool, pointer: str, said: str
) -> None:
    """Every kind of target has its refusal, at the target's place in the question."""
    rows = [ROW, ROW] if many else [ROW]
    with pytest.raises(QuestionError, match=said) as refused:
        posted_rows(subject_of([dense(2)], loss), rows, targets, many=many)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(("many", "pointer"), [(True, "/rows/1"), (False, "/row")])
def test_a_cell_that_is_no_number_is_pointed_at_with_its_column(many: bool, pointer: str) -> None:
    """The pointer names the row and the message the column."""
    rows, targets = ([ROW, [0, "a", 1]], [[1, 2], [1, 2]]) if many else ([[0, "a", 1]], [[1, 2]])
    with pytest.raises(QuestionError, match="column 'x1'") as refused:
        posted_rows(subject_of([dense(2)]), rows, targets, many=many)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(("many", "pointer"), [(True, "/dataset_rows/1"), (False, "/dataset_row")])
def test_a_row_past_the_tables_end_is_pointed_at(many: bool, pointer: str) -> None:
    """The last row of ten has the number 9."""
    with pytest.raises(QuestionError, match="must be from 0 to 9: the table has 10 rows") as refused:
        known_rows([9, 10] if many else [10], 10, many=many)
    assert refused.value.pointer == pointer
