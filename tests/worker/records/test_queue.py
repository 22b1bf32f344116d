"""Which job or prediction is claimed next: the one that has waited longest, by exactly one worker."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from worker.records.clock import seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.lease import Claim
from worker.records.predictions import PredictionClaim, submit_prediction
from worker.records.queue import claim_oldest
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job, Prediction
from worker.records.transitions import change_status, end_attempt

AnyClaim = Claim | PredictionClaim | None


@pytest.fixture
def claim_next(database: Database) -> Callable[[], AnyClaim]:
    return lambda: database.write(lambda session: claim_oldest(session, owner="wrk_test", lease_seconds=30))


@pytest.fixture
def ask(database: Database, trained: Callable[..., str]) -> Callable[[], str]:
    """Submit the prediction of a table, and return its id."""
    weights_id = trained()
    asked = {
        "served": {},
        "dataset": {"source": "builtin", "name": "iris"},
        "options": {},
        "room": QueueRoom(Prediction, 100),
    }

    def ask() -> str:
        submitted = database.write(
            lambda session: submit_prediction(session, DEFAULT_PROJECT, weights_id=weights_id, **asked)  # type: ignore[arg-type]
        )
        return str(submitted.answer["id"])

    return ask


def id_of(claim: AnyClaim) -> str | None:
    match claim:
        case Claim():
            return claim.job_id
        case PredictionClaim():
            return claim.prediction_id
        case None:
            return None


def test_what_waits_longest_is_claimed_first(
    submit: Callable[..., Snapshot], ask: Callable[[], str], claim_next: Callable[[], AnyClaim]
) -> None:
    """Jobs and predictions share one queue, in the order of their submission; then nothing is left."""
    submitted = [submit()["id"], ask(), ask(), submit()["id"], ask()]
    assert [id_of(claim_next()) for _ in range(6)] == [*submitted, None]


def test_a_job_that_is_released_is_claimed_before_younger_ones(
    database: Database, submit: Callable[..., Snapshot], claim_next: Callable[[], AnyClaim]
) -> None:
    """Its place in the queue is that of its submission, under the next attempt."""
    submitted = [submit()["id"] for _ in range(3)]
    first = claim_next()
    assert isinstance(first, Claim)
    database.write(lambda session: end_attempt(session, first, "queued"))
    again = claim_next()
    assert isinstance(again, Claim)
    assert (again.job_id, again.attempt) == (submitted[0], 2)
    assert id_of(claim_next()) == submitted[1]


def test_a_row_that_rests_is_passed_over_until_its_rest_ends(
    database: Database, submit: Callable[..., Snapshot], ask: Callable[[], str], claim_next: Callable[[], AnyClaim]
) -> None:
    """The bytes of the two oldest are missing: the third is claimed meanwhile, and they are claimed afterwards."""
    job_id, prediction_id, third = submit()["id"], ask(), submit()["id"]

    def rest(seconds: float) -> None:
        for table, row_id in ((Job, job_id), (Prediction, prediction_id)):
            moved = update(table).where(table.id == row_id).values(dispatched_at=seconds_from_now(seconds))
            database.write(lambda session, moved=moved: session.execute(moved))  # type: ignore[misc]

    rest(60)
    assert [id_of(claim_next()) for _ in range(2)] == [third, None]
    rest(-1)
    assert [id_of(claim_next()) for _ in range(3)] == [job_id, prediction_id, None]


def test_what_a_client_has_stopped_is_not_claimed(
    database: Database, submit: Callable[..., Snapshot], claim_next: Callable[[], AnyClaim]
) -> None:
    """A paused and a cancelled job do not wait; a message that was made for one of them claims another, or nothing."""
    paused, cancelled, waiting = (submit()["id"] for _ in range(3))
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, paused, "pause"))
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, cancelled, "cancel"))
    assert [id_of(claim_next()) for _ in range(2)] == [waiting, None]


def test_workers_that_claim_at_once_get_each_row_once(
    database: Database, submit: Callable[..., Snapshot], ask: Callable[[], str], claim_next: Callable[[], AnyClaim]
) -> None:
    """Six workers empty a queue of 24 jobs and 6 predictions: each is claimed once, under its first attempt."""
    submitted = [ask() if n % 5 == 0 else submit()["id"] for n in range(30)]
    claimed: list[AnyClaim] = []
    together = threading.Barrier(6)

    def work() -> None:
        together.wait()
        while (claim := claim_next()) is not None:
            claimed.append(claim)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    # with PostgreSQL a worker that finds only rows that are being claimed leaves
    assert sorted(str(id_of(claim)) for claim in claimed) == sorted(submitted)
    assert {claim.attempt for claim in claimed if claim is not None} == {1}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_row_that_another_holds_locked_stops_nobody(
    database: Database, submit: Callable[..., Snapshot], claim_next: Callable[[], AnyClaim]
) -> None:
    """A worker that froze in the middle of its claim holds the oldest row's lock; the next is claimed at once."""
    first, second = (submit()["id"] for _ in range(2))
    with database.reading() as session:
        session.scalar(select(Job.id).where(Job.id == first).with_for_update())
        assert id_of(claim_next()) == second
        assert claim_next() is None
    assert id_of(claim_next()) == first
