"""Thinning: peaks stay, at any width, and however often what is left is thinned again."""

import numpy as np
import pytest

from worker.records.packing import Columns, chosen
from worker.records.thinning import extremes, summary, thinned


def columns(count: int, seed: int = 1) -> Columns:
    """Random epochs with ties, a figure that is None at times, and a metric that few epochs have."""
    generator = np.random.default_rng(seed)
    spared = generator.random((2, count))
    return {
        "epoch": np.arange(1, count + 1),
        "has_layers": (np.arange(count) % 97 == 3).astype(np.int64),
        "learning_rate": generator.random(count),
        "train_loss": generator.integers(0, 50, count) / 7,
        "validation_loss": np.where(spared[0] < 0.3, np.nan, generator.normal(size=count)),
        "gradient_norm": np.full(count, np.nan),
        "metrics.a": np.where(spared[1] < 0.9, np.inf, generator.normal(size=count)),
    }


def by_hand(points: Columns, width: int) -> set[int]:
    """Return the extreme epochs of each bucket, found by plain comparisons."""
    kept = set()
    buckets: dict[int, list[int]] = {}
    for n, epoch in enumerate(points["epoch"].tolist()):
        buckets.setdefault((epoch - 1) // width, []).append(n)
    for positions in buckets.values():
        kept.add(points["epoch"][positions[-1]])
        for name in ("train_loss", "validation_loss", "gradient_norm", "metrics.a"):
            known = [n for n in positions if np.isfinite(points[name][n])]
            if known:
                kept.add(points["epoch"][min(known, key=lambda n: points[name][n])])
                kept.add(points["epoch"][max(known, key=lambda n: points[name][n])])
    return kept


@pytest.mark.parametrize("width", [1, 2, 7, 64, 1000, 5000])
def test_extremes_are_those_found_by_hand(width: int) -> None:
    """The first of equal values; None and a missing metric are neither high nor low."""
    points = columns(1000)
    assert set(points["epoch"][extremes(points, width)]) == by_hand(points, width)


def test_extremes_of_summaries_are_those_of_all_epochs() -> None:
    """Summaries of summaries have the extremes of the wider group, and all epochs with figures of layers."""
    points = columns(4096)
    twice = summary(summary(points, 64), 512)
    assert set(twice["epoch"]) - set(points["epoch"][points["has_layers"] == 1]) <= by_hand(points, 512)
    assert by_hand(points, 512) <= set(twice["epoch"])
    assert set(points["epoch"][points["has_layers"] == 1]) <= set(twice["epoch"])


@pytest.mark.parametrize("most", [2, 3, 5, 12, 100, 1500, 3000])
def test_a_thinned_curve_has_at_most_so_many_points(most: int) -> None:
    """It has the extremes of the narrowest buckets that leave so few points, and the first and the last epoch."""
    points = columns(3000)
    pinned = np.isin(points["epoch"], (1, 3000))
    left = thinned(points, most, pinned=pinned)
    assert len(left["epoch"]) <= most
    assert {left["epoch"][0], left["epoch"][-1]} == {1, 3000}
    # one bucket leaves nine
    assert len(left["epoch"]) >= min(most, 9) / 2
    if most >= 12:
        narrower = next(width for width in (2**n for n in range(20)) if len(by_hand(points, width) | {1, 3000}) <= most)
        assert set(left["epoch"]) == by_hand(points, narrower) | {1, 3000}


def test_the_narrowest_buckets_are_taken_from_what_is_left() -> None:
    """Points that were thinned to a width before are the same as those of all epochs, from that width on."""
    points = columns(20_000)
    pinned = np.isin(points["epoch"], (1, 20_000))
    before = chosen(points, extremes(points, 64) | pinned)
    again = thinned(before, 500, pinned=np.isin(before["epoch"], (1, 20_000)))
    assert np.array_equal(again["epoch"], thinned(points, 500, pinned=pinned)["epoch"])
