"""Curves: every epoch once, one list of columns, and the best epoch so far."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from worker.backprop.plan import Epoch as TrainedEpoch
from worker.backprop.plan import LayerFigures
from worker.errors import LeaseLostError
from worker.records import events
from worker.records.curves import read_curve, record_epochs
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.lease import Claim, record_event
from worker.records.packing import columns_of
from worker.records.points import COLUMNS, FIGURES, Point, recorded_point
from worker.records.sessions import Database


def points(first: int, last: int) -> list[Point]:
    """Epochs whose train loss falls as 1 / epoch; each is the best so far."""
    return [
        Point(
            epoch=n,
            train_loss=1 / n,
            validation_loss=None,
            learning_rate=0.1,
            gradient_norm=0.5,
            metrics={"train_accuracy": 0.5},
            seconds=0.01,
            is_best=True,
        )
        for n in range(first, last + 1)
    ]


def record(database: Database, claim: Claim, found: list[Point], recorded: int = 0) -> list[int]:
    return database.write(lambda session: record_epochs(session, claim, found, recorded=recorded, eta_seconds=1.0))[1]


def test_epochs_are_recorded_once_and_in_order_with_events(database: Database, claimed: Callable[..., Claim]) -> None:
    """They share one sequence of numbers, can be read from any epoch on, and thin to any number of points."""
    claim = claimed()
    record(database, claim, points(1, 3))
    record(database, claim, points(4, 6), recorded=3)
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == points(1, 6)
        assert read_curve(session, claim.job_id, after_epoch=4) == points(5, 6)
        for most, kept in (
            (2, [1, 6]),
            (3, [1, 6]),
            (4, [1, 4, 5, 6]),
            (6, [1, 2, 3, 4, 5, 6]),
            (99, [1, 2, 3, 4, 5, 6]),
        ):
            assert [point.epoch for point in read_curve(session, claim.job_id, max_points=most)] == kept
        assert [point.epoch for point in read_curve(session, claim.job_id, after_epoch=2, max_points=2)] == [3, 6]
        happened = happenings_after(session, claim.job_id, 0, limit=100)
        job = get_job(session, DEFAULT_PROJECT, claim.job_id)
    assert [found.seq for found in happened] == list(range(1, 9))
    assert [found.payload["epoch"] for found in happened if found.kind == "epoch"] == [1, 2, 3, 4, 5, 6]
    assert (job.seq, job.epoch, job.latest, job.best) == (8, 6, points(6, 6)[0].summary, points(6, 6)[0].summary)


def test_a_thinned_curve_keeps_the_figures_of_layers(database: Database, claimed: Callable[..., Claim]) -> None:
    """Where there is room, all five epochs with figures among 3,000 are kept, and come back as they were."""
    claim = claimed()
    layers: list[dict[str, float | None]] = [{"units": 4, "weight_norm": 0.1 + 0.2, "dead_units": None}]
    curve = [replace(point, layers=layers) if point.epoch % 700 == 3 else point for point in points(1, 3000)]
    record(database, claim, curve)
    with database.reading() as session:
        roomy = read_curve(session, claim.job_id, max_points=600)
        narrow = read_curve(session, claim.job_id, max_points=50)
    assert {point.epoch: point.layers for point in roomy if point.layers is not None} == dict.fromkeys(
        (3, 703, 1403, 2103, 2803), layers
    )
    assert len(roomy) <= 600
    assert len(narrow) <= 50


def test_a_repeated_epoch_is_compared_and_never_overwritten(database: Database, claimed: Callable[..., Claim]) -> None:
    """Equal bits pass whatever time they took; a different loss is reported, and the first record is kept."""
    claim = claimed()
    record(database, claim, points(1, 3))
    same = [replace(point, seconds=9.0) for point in points(2, 3)]
    assert record(database, claim, same, recorded=3) == []
    other = [replace(points(2, 2)[0], train_loss=0.5000001), *points(3, 4)]
    assert record(database, claim, other, recorded=3) == [2]
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == points(1, 4)


def test_a_write_without_the_lease_leaves_no_trace(database: Database, claimed: Callable[..., Claim]) -> None:
    """Neither an epoch nor a sequence number of an attempt that does not hold the job remains."""
    claim = claimed()
    with pytest.raises(LeaseLostError):
        record(database, replace(claim, attempt=2), points(1, 3))
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == []
        assert get_job(session, DEFAULT_PROJECT, claim.job_id).seq == 2


def test_an_epoch_that_is_recorded_already_is_not_recorded_again(
    database: Database, claimed: Callable[..., Claim]
) -> None:
    """A flush that believes in another last epoch than the row's writes nothing: its first try was committed."""
    claim = claimed()
    record(database, claim, points(1, 3))
    for recorded in (0, 2):
        with pytest.raises(LeaseLostError):
            record(database, claim, points(recorded + 1, 5), recorded=recorded)
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == points(1, 3)
        assert get_job(session, DEFAULT_PROJECT, claim.job_id).seq == 5


def test_epochs_with_a_gap_are_refused(database: Database, claimed: Callable[..., Claim]) -> None:
    """Nothing of such a flush is written."""
    claim = claimed()
    with pytest.raises(ValueError, match="do not follow epoch 0"):
        record(database, claim, [*points(1, 2), *points(4, 4)])
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == []


def test_the_columns_of_a_block_are_those_of_a_point() -> None:
    """The others say under which attempt and number an epoch was recorded; the figures of layers are not in a block."""
    stored = {name.split(".")[0] for name in columns_of(points(1, 1), first_seq=1, attempt=1)}
    assert stored - {"seq", "attempt", "has_layers"} | {"layers"} == set(COLUMNS)


def test_every_figure_of_a_trained_epoch_is_recorded() -> None:
    """Only an ensemble's figures of each member are not, and the time is measured where it is recorded."""
    assert set(TrainedEpoch._fields) - {"members"} | {"seconds"} == set(COLUMNS)


def test_a_figure_that_is_not_finite_is_recorded_as_none() -> None:
    """Neither JSON nor a column of PostgreSQL's JSON has it: not in the losses, a metric, or the figures of a layer."""
    layer = LayerFigures(units=3, weight_norm=math.inf, gradient_norm=0.5, update_norm=None, dead_units=0.0)
    epoch = TrainedEpoch(
        epoch=7,
        train_loss=math.inf,
        validation_loss=math.nan,
        metrics={"train_rmse": math.nan},
        learning_rate=0.1,
        gradient_norm=-math.inf,
        is_best=False,
        layers=[layer],
        members=None,
    )
    assert recorded_point(epoch, 0.25) == Point(
        epoch=7,
        train_loss=None,
        validation_loss=None,
        metrics={"train_rmse": None},
        learning_rate=0.1,
        gradient_norm=None,
        layers=[
            {"units": 3, "weight_norm": None, "gradient_norm": 0.5, "update_norm": None, "dead_units": 0.0},
        ],
        seconds=0.25,
        is_best=False,
    )


def test_a_columns_order_is_kept() -> None:
    """Clients read CSV by position: new columns come after these."""
    assert FIGURES[:6] == ("epoch", "train_loss", "validation_loss", "learning_rate", "gradient_norm", "seconds")


def test_the_best_epoch_is_the_last_that_was_the_best_so_far(database: Database, claimed: Callable[..., Claim]) -> None:
    """Its loss does not matter; a flush without a new best changes nothing, and each event says whether it was one."""
    claim = claimed()
    is_best = {1: True, 2: False, 3: True, 4: False, 5: False}
    curve = [replace(point, is_best=is_best[point.epoch]) for point in points(1, 5)]
    for recorded, flush in ((0, curve[:4]), (4, curve[4:])):
        database.write(
            lambda session, recorded=recorded, flush=flush: record_epochs(  # type: ignore[misc]
                session, claim, flush, recorded=recorded, eta_seconds=0.0
            )
        )
        with database.reading() as session:
            job = get_job(session, DEFAULT_PROJECT, claim.job_id)
            found = happenings_after(session, claim.job_id, 0, limit=10)
        assert job.best == curve[2].summary
    assert {one.payload["epoch"]: one.payload["is_best"] for one in found if one.kind == "epoch"} == is_best


def test_a_repeated_epoch_does_not_become_the_best_again(database: Database, claimed: Callable[..., Claim]) -> None:
    """A resumed run repeats epoch 1; the best is still epoch 2, which an earlier attempt recorded."""
    claim = claimed()
    for recorded, flush in ((0, points(1, 2)), (2, points(1, 1))):
        database.write(
            lambda session, recorded=recorded, flush=flush: record_epochs(  # type: ignore[misc]
                session, claim, flush, recorded=recorded, eta_seconds=0.0
            )
        )
    with database.reading() as session:
        assert get_job(session, DEFAULT_PROJECT, claim.job_id).best == points(2, 2)[0].summary


# SQLite's transaction is one snapshot
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_happens_between_the_statements_of_a_read_is_left_for_the_next(
    database: Database, claimed: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each statement sees what was committed before it, a later epoch must not hide an earlier event."""
    claim = claimed()
    record(database, claim, points(1, 1))
    usual = events.read_numbered
    happened: list[bool] = []

    def late(session: Session, job_id: str, **known: int) -> object:
        if not happened:
            happened.append(True)
            database.write(lambda other: record_event(other, claim, "checkpoint", {"epoch": 1}))
            record(database, claim, points(2, 2), recorded=1)
        return usual(session, job_id, **known)

    monkeypatch.setattr(events, "read_numbered", late)
    with database.reading() as session:
        found = [happening.seq for happening in happenings_after(session, claim.job_id, 0, limit=500)]
    with database.reading() as session:
        truth = [happening.seq for happening in happenings_after(session, claim.job_id, 0, limit=500)]
    assert happened
    assert found == truth[: len(found)]
    assert len(truth) == len(found) + 2
