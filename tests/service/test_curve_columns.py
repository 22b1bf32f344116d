"""The columns of a curve: the same text as its points have, in memory that does not grow with Python's objects."""

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event, update

from service import curve_columns
from service.context import Parts
from service.curve_columns import ROWS_AT_ONCE, CurveColumns
from worker.records.blocks import add_epochs
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.packing import columns_of
from worker.records.points import FIGURES, Point
from worker.records.tables import Job


def epoch(number: int, **changes: Any) -> Point:
    figures = dict.fromkeys(FIGURES, 0.1 * number) | {"epoch": number, "metrics": {}, "is_best": None}
    return Point(**(figures | changes))


def add(columns: CurveColumns, *points: Point) -> None:
    layers = {point.epoch: point.layers for point in points if point.layers is not None}
    columns.add(columns_of(points, first_seq=1, attempt=1), layers)


@pytest.mark.parametrize("at_once", [1, 2, 3, 10])
def test_the_text_has_every_value_wherever_a_part_ends(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Parts of any length make one document; what is missing is null, also of a metric that comes late."""
    monkeypatch.setattr(curve_columns, "ROWS_AT_ONCE", at_once)
    columns = CurveColumns()
    add(columns, epoch(1, train_loss=None, metrics={"a": 1.5}))
    add(columns, epoch(2, layers=[{"weight_norm": 2.0}], metrics={"a": None, "b": 3.0}), epoch(3))
    document = json.loads(b"".join(columns.json()))
    assert document["epochs"] == [1, 2, 3]
    assert document["train_loss"] == [None, 0.2, 0.1 * 3]
    assert document["metrics"] == {"a": [1.5, None, None], "b": [None, 3.0, None]}
    assert document["layers"] == [None, [{"weight_norm": 2.0}], None]
    read = list(csv.DictReader(io.StringIO(b"".join(columns.csv()).decode())))
    assert [known["epoch"] for known in read] == ["1", "2", "3"]
    assert [known["train_loss"] for known in read] == ["", "0.2", repr(0.1 * 3)]
    assert [known["b"] for known in read] == ["", "3.0", ""]


def test_a_curve_without_points_has_empty_columns() -> None:
    """Before the first epoch each column is an empty list."""
    document = json.loads(b"".join(CurveColumns().json()))
    assert document.pop("metrics") == {}
    assert set(map(str, document.values())) == {"[]"}
    assert len(b"".join(CurveColumns().csv()).splitlines()) == 1


def test_a_long_curve_is_read_and_sent_in_parts(
    succeeded: Callable[..., str], client: FlaskClient, parts: Parts
) -> None:
    """40,000 epochs are read by four statements, and the answer comes in parts that have all of them."""
    job_id, count = succeeded(), 4 * ROWS_AT_ONCE
    points = [epoch(n, train_loss=1 / n, metrics={"a": n / 7}, learning_rate=0.1) for n in range(6, count + 1)]
    columns = columns_of(points, first_seq=1000, attempt=1)
    parts.database.write(lambda session: add_epochs(session, job_id, DEFAULT_PROJECT, columns))
    parts.database.write(lambda session: session.execute(update(Job).values(epoch=count)))
    limits = []
    event.listen(
        parts.database.engine,
        "before_cursor_execute",
        lambda _c, _k, statement, parameters, *_: (
            limits.append(parameters) if "FROM epoch_blocks" in statement else None
        ),
    )
    tracemalloc.start()
    answer = client.get(f"/v1/jobs/{job_id}/curve", buffered=False)
    text = list(answer.response)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    document = json.loads(b"".join(text))
    assert document["epochs"] == list(range(1, count + 1))
    assert document["train_loss"][5:] == [1 / n for n in range(6, count + 1)]
    assert len(limits) == 4
    assert len(text) > 20
    # as objects of the ORM they took 80 MB
    assert peak < 30 * 2**20
