"""How the rows of a table are divided: by groups, in an order, by a column, and with a table of its own for a part."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from worker.data.profiles import profile_table
from worker.data.roles import assign_roles, with_own_table
from worker.data.splits import Split, check_split, part_rows, split_table
from worker.errors import DataError, SpecError
from worker.running.loading import Loaded, load
from worker.settings import Limits
from worker.specs.job import Job
from worker.specs.training import Training

NONE: Mapping[str, pa.Table] = MappingProxyType({})


def training(rule: dict[str, Any], **settings: Any) -> Training:
    return Training.model_validate({"split": rule, "test": {"fraction": 0.2}} | settings)


def rows_of(split: Split) -> tuple[list[int], ...]:
    return tuple([] if rows is None else rows.tolist() for rows in split)


def test_a_group_is_in_one_part_and_the_parts_have_about_their_fraction() -> None:
    """Whatever the sizes of the groups, for each seed; and the seed decides which."""
    generator, seen = np.random.default_rng(0), set()
    for seed in range(50):
        groups = generator.integers(0, generator.integers(5, 60), size=400)
        table = pa.table({"patient": groups})
        split = split_table(table, training({"type": "grouped", "column": "patient"}, seed=seed))
        parts = rows_of(split)
        assert sorted(row for part in parts for row in part) == list(range(400))
        names = [set(groups[part]) for part in parts]
        assert not names[0] & names[1]
        assert not names[0] & names[2]
        assert not names[1] & names[2]
        largest = np.bincount(groups).max()
        assert abs(len(parts[1]) - 80) <= largest
        assert abs(len(parts[2]) - 80) <= largest
        seen.add(tuple(parts[2]))
    assert len(seen) == 50


def test_the_last_rows_in_an_order_are_the_test_part_and_those_before_the_validation_part() -> None:
    """Rows of one moment stay in the table's order."""
    place = np.random.default_rng(1).permutation(50)
    split = split_table(pa.table({"day": place * 1.5}), training({"type": "ordered", "column": "day"}))
    train, validation, test = rows_of(split)
    assert sorted(place[test]) == list(range(40, 50))
    assert sorted(place[validation]) == list(range(30, 40))
    assert sorted(place[train]) == list(range(30))
    assert train == sorted(train)


def test_a_column_may_name_the_part_of_each_row() -> None:
    """In any case of letters; a part that no row is in does not exist."""
    rule = {"type": "column", "column": "part"}
    table = pa.table({"part": ["train", "Test", "TRAIN", "valid"]})
    assert rows_of(split_table(table, training(rule, test=None))) == ([0, 2], [3], [1])
    assert split_table(pa.table({"part": ["train", "test"]}), training(rule, test=None)).validation is None
    profile = profile_table(table, Limits()).columns[0]
    assert part_rows(training(rule, test=None), 4, profile) == {"train": 2, "validation": 1, "test": 1}
    for cells in (["train", "later"], ["test", "test"]):
        other = pa.table({"part": cells})
        with pytest.raises(DataError):
            split_table(other, training(rule, test=None))
        with pytest.raises(SpecError):
            part_rows(training(rule, test=None), 2, profile_table(other, Limits()).columns[0])


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"split": {"type": "grouped", "column": "g"}, "test": {"stratify": True}}, "/training/test/stratify"),
        ({"split": {"type": "column", "column": "g"}, "test": {"fraction": 0.3}}, "/training/test"),
        (
            {"validation": {"fraction": 0.3, "dataset": {"source": "stored", "id": f"dst_{'0' * 32}"}}},
            "/training/validation/dataset",
        ),
    ],
)
def test_settings_that_contradict_the_split_are_refused(settings: dict[str, Any], pointer: str) -> None:
    """What is posted again with all of its defaults is not."""
    with pytest.raises(SpecError) as caught:
        check_split(Training.model_validate(settings))
    assert caught.value.pointer == pointer
    alone = Training.model_validate({"split": {"type": "column", "column": "g"}})
    check_split(Training.model_validate(alone.model_dump(mode="json")))


def job(**members: Any) -> Job:
    layers = {"layers": [{"type": "dense", "units": 2}]}
    dataset = {"source": "builtin", "name": "iris"}
    return Job.model_validate({"dataset": dataset, "target": "y", "network": layers} | members)


def loaded(spec: Job, table: pa.Table, own: Mapping[str, pa.Table] = NONE) -> Loaded:
    return load(spec, table, Limits(), None, own)


TABLE = pa.table({"a": list(range(40)), "c": ["u", "v"] * 20, "y": ["n", "p", "p", "n"] * 10, "g": [0, 1] * 20})


@pytest.mark.parametrize(
    ("column", "rule", "detail"),
    [
        ("x", "grouped", "no such column"),
        ("y", "grouped", "is the target"),
        ("c", "ordered", "to order the rows by"),
        ("gap", "grouped", "missing cells"),
        ("one", "grouped", "2 groups are needed"),
    ],
)
def test_a_column_that_can_not_divide_the_rows_is_refused(column: str, rule: str, detail: str) -> None:
    table = TABLE.append_column("gap", pa.array([1, None] * 20)).append_column("one", pa.array([1] * 40))
    spec = job(training={"split": {"type": rule, "column": column}})
    with pytest.raises(SpecError, match=detail) as caught:
        assign_roles(spec, profile_table(table, Limits()), Limits())
    assert caught.value.pointer == "/training/split/column"


def test_the_splits_column_is_a_feature_only_if_it_is_listed() -> None:
    rule = {"training": {"split": {"type": "grouped", "column": "g"}}}
    profile = profile_table(TABLE, Limits())
    assert [feature.name for feature in assign_roles(job(**rule), profile, Limits()).features] == ["a", "c"]
    listed = assign_roles(job(**rule, features=["a", "g"]), profile, Limits()).features
    assert [feature.name for feature in listed] == ["a", "g"]
    by_column = job(training={"split": {"type": "column", "column": "g"}}, features=["a", "g"])
    with pytest.raises(SpecError, match="says nothing of its target"):
        assign_roles(by_column, profile, Limits())


def test_rows_without_a_target_are_refused_or_left_out() -> None:
    """What is left trains as a table that never had them: to the bit."""
    gaps = [None if n % 5 == 0 else cell for n, cell in enumerate(TABLE["y"].to_pylist())]
    table = TABLE.set_column(2, "y", pa.array(gaps))
    with pytest.raises(SpecError, match='"missing_target": "drop"'):
        loaded(job(), table)
    found = loaded(job(missing_target="drop"), table)
    without = loaded(job(), table.filter(pa.compute.is_valid(table["y"])))
    for part in ("train", "validation"):
        one, other = found.parts[part], without.parts[part]
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.x_and_ones, other.x_and_ones)
        np.testing.assert_array_equal(one.y, other.y)
    assert assign_roles(job(missing_target="drop"), profile_table(table, Limits()), Limits()).rows == 32


def test_a_part_may_have_a_table_of_its_own() -> None:
    """It is encoded as the job's table is; that table is not cut for it. Its columns may be in any order."""
    own = pa.table({"y": ["p", None, "n"], "c": ["v", "u", "w"], "a": [1.5, 2.0, 39.0]})
    given = {"source": "stored", "id": f"dst_{'0' * 32}"}
    spec = job(training={"validation": {"dataset": given}}, features=["a", "c"], missing_target="drop")
    found = loaded(spec, TABLE, {"validation": own})
    train, validation = found.parts["train"], found.parts["validation"]
    assert train is not None
    assert validation is not None
    assert (train.rows, validation.rows) == (40, 2)
    mean, deviation = np.mean(range(40)), np.std(range(40))
    # w is a category that training never saw
    expected = [[(1.5 - mean) / deviation, 0, 1], [(39 - mean) / deviation, 0, 0]]
    np.testing.assert_allclose(validation.x, expected, rtol=1e-6)
    assert validation.y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("own", "detail"),
    [
        ({"c": []}, "lacks the column 'c'"),
        ({"a": ["x", "y"]}, "has text in 'a'"),
        ({"y": ["q", "n"]}, "has the class 'q'"),
        ({"y": [None, "n"]}, "1 rows without a target"),
        ({"g": [1, -1]}, "the weight 'g' in it must be"),
        ({"g": ["x", "y"]}, "the weight 'g' in it must be"),
        ({"g": [0, 0]}, "is 0 in every row"),
    ],
)
def test_a_table_that_does_not_fit_the_jobs_is_refused_at_submission(own: dict[str, Any], detail: str) -> None:
    spec, profile = job(features=["a", "c"], weight="g"), profile_table(TABLE, Limits())
    roles = assign_roles(spec, profile, Limits())
    whole = {"a": [1, 2], "c": ["u", "v"], "y": ["n", "p"], "g": [1, 0]}
    changed = {name: cells for name, cells in (whole | own).items() if cells}
    with pytest.raises(SpecError, match=detail):
        with_own_table(roles, spec, profile, profile_table(pa.table(changed), Limits()), "/training/test/dataset")
    assert with_own_table(roles, spec, profile, profile_table(pa.table(whole), Limits()), "")[1] == 2
