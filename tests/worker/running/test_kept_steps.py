"""Kept steps in the record: each once and whole, whatever stops the run; deleted with their job."""

import hashlib
import json
import threading
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import func, select, update

from tests.conftest import spec_of
from worker.errors import NotFoundError, SpecError
from worker.intake.cost import REPLAY_BYTES
from worker.intake.datasets import Datasets
from worker.intake.design import design_job
from worker.networks.trained import read_trained
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import delete_job
from worker.records.kept_steps import list_steps, read_step
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Blob, Chunk, Job, KeptStep
from worker.records.weights import find_weights_id, from_bytes
from worker.running.run import Runner
from worker.settings import Limits

Submit = Callable[..., Snapshot]
# 120 rows are four batches of 32
STEPS = {"replay_steps": [2, 4, 7], "validation": {"fraction": 0.2}}


def test_a_job_keeps_the_steps_that_it_was_asked_for(database: Database, runner: Runner, submit: Submit) -> None:
    """The weights after the last step of an epoch have the sha256 of that epoch's snapshot."""
    job_id = submit(training=STEPS)["id"]
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        steps = list_steps(session, job_id)
        assert [(step.number, step.epoch) for step, _ in steps] == [(2, 1), (4, 1), (7, 2)]
        row, content = read_step(session, job_id, 4)
        snapshot = read_trained(session, find_weights_id(session, job_id, "1")).arrays
        with pytest.raises(NotFoundError):
            read_step(session, job_id, 3)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    names = json.loads(header["weights"])
    assert names == ["layers.0.w", "layers.0.b", "layers.1.w", "layers.1.b"]
    assert set(names) == set(snapshot)
    digest = hashlib.sha256(b"".join(snapshot[name].tobytes() for name in names)).hexdigest()
    assert (row.weights_sha256, header["weights_sha256"]) == (digest, digest)
    assert (header["step"], header["epoch"], header["learning_rate"]) == ("4", "1", "0.01")
    arrays = from_bytes(content)
    for name, array in snapshot.items():
        np.testing.assert_array_equal(arrays[f"after.{name}"], array)


def test_a_step_is_kept_once_whatever_stops_the_run(
    database: Database, runner: Runner, submit: Submit, shutdown: threading.Event
) -> None:
    """A run that is released after each of its first steps keeps the same bytes as a run in one piece."""
    whole, pieces = submit(training=STEPS)["id"], submit(training=STEPS)["id"]
    assert runner.run_job(whole) == "succeeded"
    shutdown.set()
    for _ in range(6):
        assert runner.run_job(pieces) == "queued"
    shutdown.clear()
    assert runner.run_job(pieces) == "succeeded"
    with database.reading() as session:
        for number in (2, 4, 7):
            one, other = (from_bytes(read_step(session, job_id, number)[1]) for job_id in (whole, pieces))
            assert one.keys() == other.keys()
            for name, array in one.items():
                np.testing.assert_array_equal(array, other[name])


def test_a_step_that_is_made_again_is_not_written_again(
    database: Database, runner: Runner, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed attempt had recorded the step; the next starts from the beginning and repeats it."""
    job_id = submit(training=STEPS)["id"]
    stop = RuntimeError("killed")

    def killed(*_: object) -> None:
        raise stop

    monkeypatch.setattr("worker.running.run.evaluate", killed)
    monkeypatch.setattr("worker.running.run.JobAttempt.fail", lambda *_: None)
    assert runner.run_job(job_id) is None
    monkeypatch.undo()
    with database.reading() as session:
        before = [(step.number, step.blob_id) for step, _ in list_steps(session, job_id)]
    assert len(before) == 3
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(status="queued")))
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        assert [(step.number, step.blob_id) for step, _ in list_steps(session, job_id)] == before
        assert session.scalar(select(func.count()).select_from(Blob).where(Blob.published.is_(False))) == 0


def test_kept_steps_go_with_their_job(database: Database, runner: Runner, submit: Submit) -> None:
    """Deleting a job deletes its steps and their bytes."""
    job_id = submit(training=STEPS)["id"]
    assert runner.run_job(job_id) == "succeeded"
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, job_id))
    with database.reading() as session:
        for table in (KeptStep, Blob, Chunk):
            assert session.scalar(select(func.count()).select_from(table)) == 0


@pytest.mark.parametrize(
    ("training", "layers", "pointer", "said"),
    [
        ({"replay_steps": [1, 21]}, [], "/training/replay_steps/1", "is past the 20 steps of this run"),
        ({"replay_steps": [1], "ensemble": 2}, [], "/training/replay_steps", "only with ensemble 1"),
        ({"replay_steps": [1], "accumulate": 2}, [], "/training/replay_steps", "only with ensemble 1"),
        (
            {"replay_steps": [1]},
            [{"type": "dense", "units": 1300}] * 2,
            "/training/replay_steps",
            f"bytes; the limit is {REPLAY_BYTES}",
        ),
    ],
)
def test_steps_that_can_not_be_kept_are_refused_at_submission(
    datasets: Datasets, training: dict[str, object], layers: list[object], pointer: str, said: str
) -> None:
    """Past the end of the run, of a network that has no single step, or too large: named by its pointer."""
    spec = spec_of(training=training, network={"layers": layers})
    with pytest.raises(SpecError, match=said) as refused:
        design_job(spec, DEFAULT_PROJECT, datasets, Limits())
    assert refused.value.pointer == pointer


def test_the_bytes_of_a_kept_step_are_within_what_was_reckoned(
    database: Database, runner: Runner, submit: Submit, datasets: Datasets
) -> None:
    """The memory estimate of a job has room for the steps that it keeps."""
    layers = [{"type": "dense", "units": 20}, {"type": "layer_norm"}, {"type": "dropout", "rate": 0.2}]
    plain, watched = (
        design_job(spec_of(network={"layers": layers}, training=training), DEFAULT_PROJECT, datasets, Limits()).cost
        for training in ({}, {"replay_steps": [1]})
    )
    job_id = submit(network={"layers": layers}, training={"replay_steps": [1]})["id"]
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        arrays = from_bytes(read_step(session, job_id, 1)[1])
    assert sum(array.nbytes for array in arrays.values()) <= watched.memory_bytes - plain.memory_bytes
