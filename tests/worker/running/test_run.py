"""Whole jobs through the real runner, on both databases: every way in which an attempt ends."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from tests.conftest import spec_of
from worker.networks.predictor import Predictor
from worker.networks.trained import read_trained
from worker.records.clock import seconds_from_now
from worker.records.curves import read_curve
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.lease import Claim, claim_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Blob, Checkpoint, Job
from worker.records.transitions import change_status, end_attempt
from worker.records.weights import find_weights_id
from worker.running.recorder import snapshot_epochs
from worker.running.run import Runner

Submit = Callable[..., Snapshot]

LONG: dict[str, Any] = {"training": {"epochs": 1_000_000, "checkpoint_seconds": 3600}}


def read_job(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return get_job(session, DEFAULT_PROJECT, job_id)


def final_arrays(database: Database, job_id: str) -> dict[str, Any]:
    with database.reading() as session:
        return dict(read_trained(session, find_weights_id(session, job_id, "final")).arrays)


def curve_bits(database: Database, job_id: str) -> list[tuple[Any, ...]]:
    with database.reading() as session:
        return [(point.epoch, *point.bits) for point in read_curve(session, job_id)]


def in_background(runner: Runner, job_id: str) -> threading.Thread:
    thread = threading.Thread(target=runner.run_job, args=(job_id,))
    thread.start()
    return thread


def wait_for_epoch(database: Database, job_id: str, epoch: int) -> None:
    while read_job(database, job_id).epoch < epoch:
        time.sleep(0.01)


def stop_at_the_first_flush(runner: Runner, shutdown: threading.Event, job_id: str) -> None:
    """Run the job, and have it stop as soon as the first epoch of this attempt is recorded."""
    announcements = itertools.count()
    stopping = replace(runner, announce=lambda _job_id: shutdown.set() if next(announcements) == 1 else None)
    assert stopping.run_job(job_id) == "queued"
    shutdown.clear()


def test_a_job_succeeds_with_its_whole_record(database: Database, runner: Runner, submit: Submit) -> None:
    """It has a curve, snapshots, weights, an evaluation, and events in one numbering; nothing else is left over."""
    job_id = submit(training={"epochs": 10, "test": {"fraction": 0.2}})["id"]
    assert runner.run_job(job_id) == "succeeded"
    job = read_job(database, job_id)
    assert (job.status, job.attempt, job.epoch, job.crashes, job.owner) == ("succeeded", 1, 10, 0, None)
    assert job.evaluation is not None
    assert job.evaluation["test"]["rows"] == 30
    assert sum(map(sum, job.evaluation["validation"]["confusion"]["matrix"])) == 30
    assert job.test == {name: job.evaluation["test"][name] for name in ("loss", "metrics")}
    with database.reading() as session:
        happened = happenings_after(session, job_id, 0, limit=1000)
        assert session.scalar(select(func.count()).select_from(Checkpoint)) == 0
        assert session.scalar(select(func.count()).select_from(Blob).where(Blob.published.is_(False))) == 0
    assert [found.seq for found in happened] == list(range(1, len(happened) + 1))
    assert [found.payload["epoch"] for found in happened if found.kind == "epoch"] == list(range(1, 11))
    assert happened[-1].kind == "end"
    assert len([found for found in happened if found.kind == "checkpoint"]) == len(snapshot_epochs(10, 32, 1))


def test_the_result_predicts_what_was_evaluated(database: Database, runner: Runner, submit: Submit) -> None:
    """The stored weights and encoders, on the raw rows of the table, give the recorded accuracy or better."""
    job_id = submit(training={"epochs": 60})["id"]
    runner.run_job(job_id)
    with database.reading() as session:
        predictor = Predictor(read_trained(session, find_weights_id(session, job_id)))
    table = runner.datasets.load(DEFAULT_PROJECT, spec_of().dataset)
    by_table = predictor.predict_table(table)
    assert np.mean(np.array(by_table.predictions) == table["label"].to_numpy(zero_copy_only=False)) > 0.9
    by_rows = predictor.predict_rows(
        table.select(["sepal length", "sepal width", "petal length", "petal width"]).to_pylist()
    )
    assert by_rows.predictions == by_table.predictions
    np.testing.assert_allclose(by_rows.probabilities, by_table.probabilities, rtol=1e-6)
    np.testing.assert_allclose(np.sum(by_rows.probabilities, axis=1), 1, rtol=1e-5)


def test_a_regression_predicts_in_its_own_units(database: Database, runner: Runner, submit: Submit) -> None:
    """y = 2 x1 - 3 x2 + 1 is learned from standardised numbers, and predicted as it is."""
    job_id = submit(
        dataset={"source": "generator", "name": "linear", "rows": 400, "noise": 0.01}, target="target",
        network={"layers": []}, training={"epochs": 200, "optimizer": {"type": "adam", "learning_rate": 0.01}},
    )["id"]  # fmt: skip
    runner.run_job(job_id)
    job = read_job(database, job_id)
    assert job.evaluation is not None
    assert job.evaluation["validation"]["metrics"]["r2"] > 0.999
    with database.reading() as session:
        trained = read_trained(session, find_weights_id(session, job_id))
    prediction = Predictor(trained).predict_rows([[0.5, -0.5], {"x2": 0.0, "x1": 0.0}])
    np.testing.assert_allclose(prediction.predictions, [3.5, 1.0], atol=0.02)
    assert (prediction.classes, prediction.probabilities) == (None, None)


def test_a_squared_error_of_a_category_trains_too(database: Database, runner: Runner, submit: Submit) -> None:
    """The textbook network, sigmoid outputs with a squared error, learns XOR."""
    job_id = submit(
        dataset={"source": "builtin", "name": "xor"},
        network={
            "layers": [{"type": "dense", "units": 4, "activation": "sigmoid"}],
            "output": {"activation": "sigmoid"},
        },
        training={"epochs": 2000, "loss": "mean_squared_error", "optimizer": {"type": "adam", "learning_rate": 0.05}},
    )["id"]  # fmt: skip
    runner.run_job(job_id)
    job = read_job(database, job_id)
    assert job.latest is not None
    assert (job.status, job.latest["metrics"]) == ("succeeded", {"train_accuracy": 1.0})


def test_stopped_by_a_deploy_and_resumed_has_the_same_bits(
    database: Database, runner: Runner, submit: Submit, shutdown: threading.Event
) -> None:
    """SIGTERM takes a checkpoint at the next batch and releases the job; no crash counts, and the bits are the same."""
    training = {"epochs": 40, "batch_size": 8, "early_stopping": {"patience": 40}}
    network = {"layers": [{"type": "dense", "units": 64}, {"type": "dropout", "rate": 0.2}]}
    golden, job_id = (submit(training=training, network=network)["id"] for _ in range(2))
    assert runner.run_job(golden) == "succeeded"
    for attempt in (1, 2, 3):
        stop_at_the_first_flush(runner, shutdown, job_id)
        job = read_job(database, job_id)
        assert (job.status, job.crashes, job.owner, job.epoch) == ("queued", 0, None, attempt)
    assert runner.run_job(job_id) == "succeeded"
    assert read_job(database, job_id).attempt == 4
    assert curve_bits(database, job_id) == curve_bits(database, golden)
    expected = final_arrays(database, golden)
    for name, array in final_arrays(database, job_id).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("forgotten", [1, 2])
def test_a_killed_attempt_goes_on_from_its_checkpoint_and_repeats_its_bits(
    database: Database, runner: Runner, submit: Submit, shutdown: threading.Event, forgotten: int
) -> None:
    """Epochs recorded after the last checkpoint are trained again and are equal: no event says that they differ.

    forgotten: of the last two checkpoints; without any the job starts from its beginning.
    """
    job = {"dataset": {"source": "builtin", "name": "digits"}, "training": {"epochs": 40, "batch_size": 16}}
    golden, job_id = (submit(**job)["id"] for _ in range(2))
    runner.run_job(golden)
    for _ in range(2):
        stop_at_the_first_flush(runner, shutdown, job_id)
    # without the newest checkpoint the curve is ahead of the state, as after a kill
    with database.reading() as session:
        newest = session.scalars(select(Checkpoint).order_by(Checkpoint.id.desc())).all()
    assert len(newest) == 2
    assert (newest[1].epoch, newest[0].epoch) == (1, 2)
    for row in newest[:forgotten]:
        database.write(lambda session, row=row: session.delete(session.get_one(Checkpoint, row.id)))
    assert runner.run_job(job_id) == "succeeded"
    assert curve_bits(database, job_id) == curve_bits(database, golden)
    with database.reading() as session:
        happened = happenings_after(session, job_id, 0, limit=10_000)
    assert "nondeterminism" not in {found.kind for found in happened}
    assert [found.seq for found in happened] == list(range(1, len(happened) + 1))
    kept = [found.payload["epoch"] for found in happened if found.kind == "checkpoint"]
    assert sorted(kept) == sorted(snapshot_epochs(40, 32, 1))


@pytest.mark.parametrize(("change", "left_in"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_running_job_obeys_within_a_second(
    database: Database, runner: Runner, submit: Submit, change: str, left_in: str
) -> None:
    """A cancel or a pause ends the attempt at once; only a paused job keeps a checkpoint."""
    job_id = submit(**LONG)["id"]
    thread = in_background(runner, job_id)
    wait_for_epoch(database, job_id, 1)
    began = time.monotonic()
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, change))
    thread.join(timeout=10)
    assert time.monotonic() - began < 3
    job = read_job(database, job_id)
    assert (job.status, job.crashes) == (left_in, 0)
    with database.reading() as session:
        kept = session.scalar(select(func.count()).select_from(Checkpoint))
        assert kept == (0 if left_in == "cancelled" else 1)
        assert len(read_curve(session, job_id)) == job.epoch


def test_a_cancel_is_seen_within_a_long_epoch(database: Database, runner: Runner, submit: Submit) -> None:
    """The heartbeat looks twice a second: an epoch of a minute does not hold up a cancel."""
    job_id = submit(
        dataset={"source": "generator", "name": "moons", "rows": 200_000},
        training={"epochs": 3, "batch_size": 1, "checkpoint_seconds": 3600},
    )["id"]  # fmt: skip
    thread = in_background(runner, job_id)
    while read_job(database, job_id).status != "running":
        time.sleep(0.01)
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, "cancel"))
    thread.join(timeout=15)
    job = read_job(database, job_id)
    assert (job.status, job.epoch) == ("cancelled", 0)


def test_a_cancel_that_follows_a_pause_wins(database: Database, claimed: Callable[..., Claim]) -> None:
    """A cancel that is answered while the worker writes its checkpoint for a pause ends the job as cancelled."""
    claim = claimed()
    for change in ("pause", "cancel"):
        database.write(lambda session, change=change: change_status(session, DEFAULT_PROJECT, claim.job_id, change))
    assert database.write(lambda session: end_attempt(session, claim, "paused")) == "cancelled"


def test_a_worker_that_lost_its_lease_stops_and_writes_nothing(
    database: Database, runner: Runner, submit: Submit
) -> None:
    """Another attempt takes the job in mid-run: the first ends without a trace, and records no more epochs."""
    job_id = submit(**LONG)["id"]
    thread = in_background(runner, job_id)
    wait_for_epoch(database, job_id, 5)

    def steal(session: Any) -> Claim | None:
        session.execute(update(Job).where(Job.id == job_id).values(status="queued", lease_until=seconds_from_now(-1)))
        return claim_job(session, job_id, owner="other", lease_seconds=30)

    second = database.write(steal)
    assert second is not None
    thread.join(timeout=10)
    job = read_job(database, job_id)
    assert (job.status, job.attempt, job.owner) == ("running", 2, "other")
    with database.reading() as session:
        happened = happenings_after(session, job_id, 0, limit=10_000_000)
        assert happened[-1].kind == "status"
        assert happened[-1].payload["attempt"] == 2


@pytest.mark.parametrize("message", ["job_" + "0" * 32, "../../etc/passwd", "", "x" * 10_000])
def test_a_message_about_nothing_does_nothing(runner: Runner, message: str) -> None:
    """An id that names no job, or is none, starts no attempt and raises nothing."""
    assert runner.run_job(message) is None


def test_snapshots_are_log_spaced_and_bounded() -> None:
    """The first and the last epoch are among them; there are at most `count`, and at most 64 MiB."""
    assert snapshot_epochs(1, 32, 1) == {1}
    assert {1, 1000} <= snapshot_epochs(1000, 32, 1)
    assert len(snapshot_epochs(1000, 32, 1)) <= 32
    assert len(snapshot_epochs(1000, 32, 20 * 2**20)) == 3
    assert snapshot_epochs(1000, 32, 2**30) == set()
    assert snapshot_epochs(1000, 0, 1) == set()
