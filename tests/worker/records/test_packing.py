"""Packed epochs: what comes back is what went in, to the bit."""

import math
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker.records.packing import columns_of, joined, pack, points_of, unpack
from worker.records.points import Point

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FIGURE = st.none() | FINITE
LAYER = st.fixed_dictionaries({"units": st.integers(1, 2**53), "weight_norm": FIGURE, "dead_units": FIGURE})


@st.composite
def curves(draw: st.DrawFn) -> list[Point]:
    """Consecutive epochs, each with metrics of its own."""
    first, count = draw(st.integers(1, 10**6)), draw(st.integers(1, 40))
    return [
        Point(
            epoch=first + n,
            train_loss=draw(FIGURE),
            validation_loss=draw(FIGURE),
            metrics=draw(st.dictionaries(st.sampled_from(["train_a", "b.c", "", "epoch", "\u00e9"]), FIGURE)),
            learning_rate=draw(FINITE),
            gradient_norm=draw(FIGURE),
            layers=draw(st.none() | st.lists(LAYER, max_size=2)),
            seconds=draw(FINITE),
            is_best=draw(st.none() | st.booleans()),
        )
        for n in range(count)
    ]


def bits(value: Any) -> Any:
    """Return a value that is equal for floats of the same bits only."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, dict):
        return {name: bits(one) for name, one in value.items()}
    return value


@given(curves(), st.integers(1, 2**60), st.integers(1, 2**31 - 1), st.integers(0, 40))
def test_packed_points_come_back_as_they_were(points: list[Point], seq: int, attempt: int, cut: int) -> None:
    """With a missing metric, None and negative zero, whole or as two parts of which each has its own metrics."""
    layers = {point.epoch: point.layers for point in points if point.layers is not None}
    parts = [part for part in (points[:cut], points[cut:]) if part]
    packed = [
        pack(columns_of(part, first_seq=seq + part[0].epoch - points[0].epoch, attempt=attempt)) for part in parts
    ]
    columns = joined([unpack(content) for content in packed])
    assert [bits(vars(point)) for point in points_of(columns, layers)] == [bits(vars(point)) for point in points]
    assert columns["seq"].tolist() == list(range(seq, seq + len(points)))
    assert set(columns["attempt"].tolist()) == {attempt}
    assert [epoch for epoch, has in zip(columns["epoch"], columns["has_layers"], strict=True) if has] == list(layers)


def test_metrics_keep_their_order() -> None:
    """The first epoch's comes first, as in the events of a watcher who saw it live."""
    point = Point(
        epoch=1, train_loss=1.0, validation_loss=None, metrics={"z": 1.0, "a": 2.0}, learning_rate=0.1,
        gradient_norm=None, seconds=0.1, is_best=True,
    )  # fmt: skip
    (found,) = points_of(unpack(pack(columns_of([point], first_seq=1, attempt=1))), {})
    assert list(found.metrics) == ["z", "a"]


def test_no_parts_have_no_epochs() -> None:
    """A curve without epochs has every column, each of them empty."""
    assert points_of(joined([]), {}) == []
    assert not math.prod(len(column) for column in joined([]).values())
