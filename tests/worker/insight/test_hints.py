"""What curves say in words."""

from collections.abc import Sequence

import pytest

from worker.insight.hints import hints_of
from worker.records.points import Point


def curve(train: Sequence[float | None], validation: Sequence[float | None] = (), dead: int = 0) -> list[Point]:
    padded = [*validation, *[None] * (len(train) - len(validation))]
    layers = [{"units": 10, "dead_units": float(dead)}, {"units": 2, "dead_units": 2.0}]
    return [
        Point(
            epoch=n + 1,
            train_loss=loss,
            validation_loss=padded[n],
            learning_rate=0.1,
            gradient_norm=1.0,
            metrics={},
            seconds=0.1,
            layers=layers,
            is_best=False,
        )
        for n, loss in enumerate(train)
    ]


GOOD = [1.0, 0.5, 0.3, 0.25, 0.24, 0.235, 0.233, 0.232, 0.231, 0.23]

CURVES: dict[str, tuple[list[Point], list[str]]] = {
    "a good run": (curve(GOOD, [x + 0.02 for x in GOOD]), []),
    "too short to judge": (curve([1.0, 50.0, 1e6]), []),
    "rising": (curve([1.0, 0.5, 0.4, 0.9, 2.0, 5.0, 8.0]), ["diverging"]),
    "not finite at the end": (curve([1.0, 0.5, 0.4, 9.0, None]), ["diverging"]),
    "flat from the start": (curve([2.3, 2.302, 2.301, 2.3, 2.3, 2.299]), ["stalled"]),
    "still falling": (curve([10.0, 9, 8, 7, 6, 5, 4, 3, 2, 1]), ["unfinished"]),
    "validation turns": (curve(GOOD, [1.1, 0.6, 0.5, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0]), ["over_fitting"]),
    "half a layer dead": (curve(GOOD, dead=5), ["dead_units"]),
    "nothing left to learn": (curve([0.5, 0.1, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), []),
    "nothing to learn at all": (curve([0.0] * 6), []),
    "a loss below zero": (curve([-1.0, -1.5, -1.9, -1.99, -1.999, -2.0]), []),
    "fewer than half dead": (curve(GOOD, dead=4), []),
}


@pytest.mark.parametrize("name", sorted(CURVES))
def test_each_curve_is_told_as_what_it_is(name: str) -> None:
    """Each typical curve gets the hints that fit it, and no others."""
    points, expected = CURVES[name]
    assert [hint["code"] for hint in hints_of(points)] == expected


def test_a_hint_names_the_epoch_and_the_figures() -> None:
    """The message says at which epoch the loss was lowest, and the losses."""
    (hint,) = hints_of(CURVES["validation turns"][0])
    assert "lowest about epoch 3 (0.5) and has risen to 1" in hint["message"]
