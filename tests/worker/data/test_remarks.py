"""Remarks about a table: why a column is text, and what can't help."""

import pytest

from tests.conftest import spec_of
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import CSV, read_table
from worker.data.remarks import job_remarks, table_remarks
from worker.data.roles import assign_roles
from worker.settings import Limits

LIMITS = Limits()


def profiled(*columns: list[str]) -> TableProfile:
    """The profile of a CSV with the columns c0, c1, ..."""
    lines = [",".join(f"c{n}" for n in range(len(columns)))]
    lines += [",".join(f'"{cell}"' for cell in row) for row in zip(*columns, strict=True)]
    return profile_table(read_table("\n".join(lines).encode(), CSV, LIMITS), LIMITS)


NUMBERS = [str(n % 7) for n in range(30)]


@pytest.mark.parametrize(
    ("cells", "code", "said"),
    [
        ([*NUMBERS[:-2], "n.a.", "?"], "mostly_numbers", "2 cells are no numbers, the first of them: 'n.a.', row 28"),
        ([*NUMBERS[:-1], "?"], "mostly_numbers", "1 cell is no number: '?', row 29"),
        ([f"0{n}" for n in range(7)] * 4 + ["12"], "leading_zeros", "'00', row 0"),
        ([f"{n % 9},5" for n in range(30)], "form", "the decimal mark ','"),
        ([f"{1 + n % 9},234" for n in range(30)], "look", "decimal commas, but could be read in two ways"),
        ([f"{1 + n % 9}.234,5" for n in range(30)], "form", "the decimal mark ',' and thousands separated by '.'"),
        ([f"{n % 9} %" for n in range(30)], "form", "the sign %, which counts nothing"),
        ([f"${n % 9}.50" for n in range(30)], "form", "the sign $"),
        ([f"2026-01-{1 + n % 9:02}" for n in range(30)], "form", "from times written year-month-day"),
        ([f"{1 + n % 9}/1/2026" for n in range(30)], "look", "upload it with dates to say which"),
        (["7"] * 30, "constant", "the same value in every row"),
        ([""] * 30, "constant", "no value in any row"),
        ([f"name {n}" for n in range(30)], "identifier", '{"type": "ignore"}'),
        ([str(n) for n in range(100, 130)], "identifier", "another value in each row"),
    ],
)
def test_what_was_read_otherwise_than_it_may_be_meant_is_said(cells: list[str], code: str, said: str) -> None:
    """With the number of cells, and the first of them."""
    (remark,) = table_remarks(profiled(cells))
    assert (remark.column, remark.code) == ("c0", code)
    assert said in remark.detail


@pytest.mark.parametrize(
    "cells",
    [
        NUMBERS,
        [str(n * 1.5) for n in range(30)],
        ["red", "green", "blue"] * 10,
        ["red", "7", "blue"] * 10,
        [f"{n % 9},5" for n in range(29)] + ["x"],
        [str(n * n) for n in range(30)],
    ],
)
def test_an_ordinary_column_draws_no_remark(cells: list[str]) -> None:
    """Numbers, words, and text of which the cells do not agree."""
    assert table_remarks(profiled(cells)) == ()


def test_a_job_has_the_remarks_of_its_columns_and_its_target() -> None:
    """A target of few whole numbers may be classes; a column that the job does not use draws no remark."""
    profile = profiled([str(n % 3) for n in range(30)], [str(n * 1.5) for n in range(30)], ["7"] * 30)
    profile = profile.model_copy(update={"unnamed": (0,)})

    def codes(**changes: object) -> list[tuple[str | None, str]]:
        roles = assign_roles(spec_of(**changes), profile, LIMITS)
        return [(remark.column, remark.code) for remark in job_remarks(profile, roles)]

    assert codes(target="c0", features=["c1"]) == [(None, "unnamed"), ("c0", "few_numbers")]
    assert codes(target="c0", columns={"c0": {"type": "categorical"}}) == [(None, "unnamed"), ("c2", "constant")]
    assert codes(target="c1", features=["c0"]) == [(None, "unnamed")]


@pytest.mark.parametrize(
    ("column", "is_copy"),
    [
        (["yes", "no", "no"] * 10, True),
        (["no", "no", "yes"] * 10, True),
        (["yes", "no", "yes"] * 10, False),
        (["on", "off", "off"] * 10, False),
    ],
)
def test_what_may_be_a_copy_of_the_target_is_said(column: list[str], is_copy: bool) -> None:
    """The profiles tell which values there are, and how often, not in which rows."""
    profile = profiled(["yes", "no", "no"] * 10, column)
    found = job_remarks(profile, assign_roles(spec_of(target="c0"), profile, LIMITS))
    assert [(remark.column, remark.code) for remark in found] == ([("c1", "copy")] if is_copy else [])


def test_numbers_may_be_a_copy_of_the_target_too() -> None:
    profile = profiled([str(n * 1.5) for n in range(30)], [str(43.5 - n * 1.5) for n in range(30)], ["1.5", "2.5"] * 15)
    found = job_remarks(profile, assign_roles(spec_of(target="c0"), profile, LIMITS))
    assert [(remark.column, remark.code) for remark in found] == [("c1", "copy")]
