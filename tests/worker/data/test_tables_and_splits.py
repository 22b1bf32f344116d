"""Built-in tables, generated tables, profiles and splits."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits, load_iris

from tests.conftest import spec_of
from worker.data.profiles import profile_table
from worker.data.sources import make_table
from worker.data.splits import check_stratified, split_rows
from worker.errors import DataError, SpecError
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset, GeneratedDataset
from worker.specs.training import Training

BUILTIN = {
    "xor": (4, 2, "label"),
    "digits": (1797, 64, "label"),
    "iris": (150, 4, "label"),
    "wine": (178, 13, "label"),
    "breast_cancer": (569, 30, "label"),
    "diabetes": (442, 10, "target"),
}


@pytest.mark.parametrize("name", BUILTIN)
def test_builtin_tables_have_their_rows_and_target(name: str) -> None:
    """Each built-in table has its known size, and its target last."""
    table = make_table(BuiltinDataset(source="builtin", name=name))  # type: ignore[arg-type]
    rows, features, target = BUILTIN[name]
    assert (table.num_rows, table.num_columns) == (rows, features + 1)
    assert table.column_names[-1] == target


def test_builtin_values_are_scikit_learns() -> None:
    """The numbers and labels are those that scikit-learn ships."""
    iris = make_table(BuiltinDataset(source="builtin", name="iris"))
    np.testing.assert_array_equal(iris["petal length"].to_numpy(), load_iris().data[:, 2])
    assert set(iris["label"].to_pylist()) == {"setosa", "versicolor", "virginica"}
    digits = make_table(BuiltinDataset(source="builtin", name="digits"))
    assert digits["label"].to_pylist() == [str(label) for label in load_digits().target]


@pytest.mark.parametrize("name", ["moons", "circles", "spirals", "blobs", "linear", "sine"])
def test_generators_are_a_function_of_their_seed(name: str) -> None:
    """The same seed gives the same table; another seed or noise gives another."""

    def table(seed: int, noise: float = 0.1) -> dict[str, list[object]]:
        return make_table(
            GeneratedDataset(source="generator", name=name, rows=60, noise=noise, seed=seed)  # type: ignore[arg-type]
        ).to_pydict()

    assert table(1) == table(1)
    assert table(1) != table(2)
    assert table(1, noise=0.0) != table(1)
    assert len(table(1)["target" if name in ("linear", "sine") else "label"]) == 60


def test_the_linear_generator_without_noise_is_its_formula() -> None:
    """Without noise the target is 2 x1 - 3 x2 + 1."""
    table = make_table(GeneratedDataset(source="generator", name="linear", noise=0.0))
    x1, x2, y = (table[name].to_numpy() for name in ("x1", "x2", "target"))
    np.testing.assert_allclose(y, 2 * x1 - 3 * x2 + 1)


def test_a_profile_counts_what_the_columns_hold() -> None:
    """A numeric column has bounds and a mean, a text column its categories in order."""
    profile = profile_table(make_table(BuiltinDataset(source="builtin", name="iris")), Limits())
    petal, label = profile.column("petal length"), profile.column("label")
    assert petal is not None
    assert label is not None
    assert (petal.minimum, petal.maximum, petal.categories) == (1.0, 6.9, None)
    assert petal.mean == pytest.approx(load_iris().data[:, 2].mean())
    assert (label.distinct, label.categories) == (3, ("setosa", "versicolor", "virginica"))


def test_parts_are_disjoint_whole_and_keep_each_classs_share() -> None:
    """Every row is in one part, each class has its share of each, and the seed decides which."""
    labels = np.repeat([0, 1], [80, 20])
    training = spec_of(training={"test": {"fraction": 0.1}}).training
    split = split_rows(100, training, labels)
    assert split.validation is not None
    assert split.test is not None
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(100))
    assert [len(part) for part in split] == [70, 20, 10]
    assert [int(labels[part].sum()) for part in split] == [14, 4, 2]
    again = split_rows(100, training, labels)
    np.testing.assert_array_equal(split.train, again.train)
    other = split_rows(100, training.model_copy(update={"seed": 1}), labels)
    assert not np.array_equal(split.train, other.train)


def test_a_table_under_twenty_rows_gets_no_validation_part() -> None:
    """A validation part of a few rows would say nothing, so none is made."""
    assert split_rows(19, spec_of().training, None).validation is None
    assert split_rows(20, spec_of().training, None).validation is not None


def test_a_rare_class_is_split_at_random_unless_stratifying_was_asked_for() -> None:
    """A class with one row can't be in two parts: that is an error only if the job insists on it."""
    labels = np.array([0] * 29 + [1])
    assert split_rows(30, spec_of().training, labels).validation is not None
    with pytest.raises(DataError, match="set its stratify to false"):
        split_rows(30, spec_of(training={"validation": {"stratify": True}}).training, labels)


def test_a_part_that_would_be_everything_is_refused() -> None:
    """A fraction that leaves no row to train on is refused."""
    with pytest.raises(DataError, match="change the fraction"):
        split_rows(4, spec_of(training={"test": {"fraction": 0.99}}).training, None)


def test_categories_are_kept_while_they_are_small() -> None:
    """Long texts are no categories; of many columns of numbers those with few values keep theirs; text is refused."""
    long = pa.table({"a": ["x" * 60_000 + str(n) for n in range(10)]})
    assert profile_table(long, Limits()).columns[0].categories is None
    values = list(range(1000))
    numbers = pa.table({"label": [n % 3 for n in values]} | {f"n{c}": values for c in range(200)})
    profile = profile_table(numbers, Limits())
    assert [column.name for column in profile.columns] == numbers.column_names
    assert profile.columns[0].categories == ("0", "1", "2")
    assert None in [column.categories for column in profile.columns]
    texts = pa.table({f"t{c}": [f"{n}x" for n in values] for c in range(200)})
    with pytest.raises(DataError, match="leave columns of text out"):
        profile_table(texts, Limits())


def test_what_can_not_be_stratified_is_known_from_the_counts() -> None:
    """A submission is refused exactly if the split of its rows would be, whatever their order."""
    generator = np.random.default_rng(0)
    both = {"fraction": 0.25, "stratify": True}
    refused = []
    for seed in range(100):
        counts = generator.integers(1, 9, size=generator.integers(2, 6)).tolist()
        labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
        training = Training.model_validate({"seed": seed, "validation": both, "test": both})
        outcomes = []
        for work in (partial(check_stratified, training, counts), partial(split_rows, len(labels), training, labels)):
            try:
                work()
                outcomes.append(None)
            except (SpecError, DataError) as error:
                outcomes.append(error.detail)
        assert outcomes[0] == outcomes[1], counts
        refused.append(outcomes[0] is not None)
    assert 20 < sum(refused) < 80
