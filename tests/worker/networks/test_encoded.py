"""Rows that come encoded: taken as they are, or refused by row."""

import numpy as np
import pytest

from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, NumericCode
from worker.errors import DataError
from worker.networks.encoded import check_encoded

ENCODERS = Encoders(
    features=(
        NumericCode(name="size", median=0, mean=1, scale=2),
        CategoricalCode(name="city", categories=("a", "b", "c"), missing=False, most_frequent="a"),
        CategoricalCode(name="colour", categories=("x", "y"), missing=True, most_frequent="x", embedded=True),
    ),
    target=ClassTarget(name="kind", classes=("n", "m")),
)
FLOAT = np.dtype(np.float32)


def row(**changes: float) -> np.ndarray:
    """A number, three indicators, and the number of a colour: x, y, missing, and 3 for one never seen."""
    return np.array([[changes.get("size", 0.5), 1, 0, 0, changes.get("colour", 3)]])


def test_numbers_of_the_networks_type_are_not_copied() -> None:
    values = row().astype(FLOAT)
    assert np.shares_memory(check_encoded(values, ENCODERS, FLOAT).x, values)
    assert check_encoded(row(), ENCODERS, FLOAT).x.dtype == FLOAT
    assert check_encoded(np.empty((0, 5)), ENCODERS, FLOAT).x.shape == (0, 5)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_every_category_and_the_one_never_seen_is_taken(number: int) -> None:
    assert check_encoded(row(colour=number), ENCODERS, FLOAT).x[0, 4] == number


@pytest.mark.parametrize(
    ("changes", "column", "said"),
    [
        ({"colour": 4}, "colour", "from 0 to 3"),
        ({"colour": -1}, "colour", "from 0 to 3"),
        ({"colour": 0.5}, "colour", "from 0 to 3"),
        ({"size": np.nan}, None, "not finite at position 0"),
        ({"size": 1e39}, None, "not finite at position 0"),
    ],
)
def test_what_the_network_cannot_take_is_refused_by_row(
    changes: dict[str, float], column: str | None, said: str
) -> None:
    values = np.concatenate([row(), row(**changes)])
    with pytest.raises(DataError, match=said) as raised:
        check_encoded(values, ENCODERS, FLOAT)
    assert (raised.value.row, raised.value.column) == (1, column)
