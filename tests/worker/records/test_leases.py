"""Claims, fencing and rescue, on both databases."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from worker.errors import LeaseLostError
from worker.records.clock import seconds_from_now
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.lease import Claim, claim_job, expired_jobs, guard, held_status, rescue_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job
from worker.records.transitions import change_status, end_attempt
from worker.records.workers import expire_leases


def status_of(database: Database, job_id: str) -> str:
    with database.reading() as session:
        return get_job(session, DEFAULT_PROJECT, job_id).status


def test_claim_is_given_to_one_worker_only(database: Database, submit: Callable[..., Snapshot]) -> None:
    """Of many workers that claim the same job at once, exactly one gets it."""
    for _ in range(10):
        job_id = submit()["id"]
        barrier, claims = threading.Barrier(6), []

        def claim(
            job_id: str = job_id, barrier: threading.Barrier = barrier, claims: list[Claim | None] = claims
        ) -> None:
            barrier.wait()
            claims.append(database.write(lambda session: claim_job(session, job_id, owner="w", lease_seconds=30)))

        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claim is not None for claim in claims) == [False] * 5 + [True]


def test_a_claim_raises_the_attempt_and_tells_watchers(database: Database, claimed: Callable[..., Claim]) -> None:
    """The row names its owner and its start, and the change is an event."""
    claim = claimed()
    assert claim.attempt == 1
    with database.reading() as session:
        job = get_job(session, DEFAULT_PROJECT, claim.job_id)
        assert (job.status, job.owner, job.started_at is not None) == ("running", "wrk_test", True)
        kinds = [(found.kind, found.payload["status"]) for found in happenings_after(session, job.id, 0, limit=10)]
    assert kinds == [("status", "queued"), ("status", "running")]


def test_an_expired_lease_is_rescued_once_and_fences_its_owner(
    database: Database, claimed: Callable[..., Claim]
) -> None:
    """The job is queued again, a second rescue finds nothing, and the old owner can write no more."""
    claim = claimed(lease_seconds=0.05)
    time.sleep(0.1)
    with database.reading() as session:
        assert expired_jobs(session) == [(claim.job_id, 1)]
    assert database.write(lambda session: rescue_job(session, claim.job_id, 1)) == "queued"
    assert database.write(lambda session: rescue_job(session, claim.job_id, 1)) is None
    again = database.write(lambda session: claim_job(session, claim.job_id, owner="other", lease_seconds=30))
    assert again is not None
    assert again.attempt == 2
    for write in (
        lambda session: guard(session, claim),
        lambda session: held_status(session, claim),
        lambda session: end_attempt(session, claim, "succeeded"),
    ):
        with pytest.raises(LeaseLostError):
            database.write(write)
    assert status_of(database, claim.job_id) == "running"


def test_a_renewed_lease_is_left_alone(database: Database, claimed: Callable[..., Claim]) -> None:
    """Rescue repeats its condition: between its look and its write the worker may have come back."""
    claim = claimed(lease_seconds=0.05)
    time.sleep(0.1)
    with database.reading() as session:
        found = expired_jobs(session)
    renewed = Claim(**{**claim.__dict__, "lease_seconds": 30})
    database.write(lambda session: guard(session, renewed))
    assert database.write(lambda session: rescue_job(session, *found[0])) is None
    assert status_of(database, claim.job_id) == "running"


@pytest.mark.parametrize("finishes", [False, True])
def test_of_many_rescuers_and_its_owner_one_moves_the_job(
    database: Database, claimed: Callable[..., Claim], finishes: bool
) -> None:
    """Its lease has expired, and several rescue it at once, perhaps while its owner ends it: exactly one succeeds."""
    for _ in range(5):
        claim = claimed()
        expire = update(Job).where(Job.id == claim.job_id).values(lease_until=seconds_from_now(-1))
        database.write(lambda session, expire=expire: session.execute(expire))  # type: ignore[misc]
        barrier, moved = threading.Barrier(5), []

        def rescue(claim: Claim = claim, barrier: threading.Barrier = barrier, moved: list[object] = moved) -> None:
            barrier.wait()
            moved.append(database.write(lambda session: rescue_job(session, claim.job_id, claim.attempt)))

        def finish(claim: Claim = claim, barrier: threading.Barrier = barrier, moved: list[object] = moved) -> None:
            barrier.wait()
            try:
                moved.append(database.write(lambda session: end_attempt(session, claim, "succeeded")))
            except LeaseLostError:
                moved.append(None)

        threads = [threading.Thread(target=rescue) for _ in range(4)]
        threads.append(threading.Thread(target=finish if finishes else rescue))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        moves = [status for status in moved if status is not None]
        assert (len(moved), len(moves)) == (5, 1)
        assert moves[0] == status_of(database, claim.job_id)


@pytest.mark.parametrize(("change", "left_in"), [("cancel", "cancelled"), ("pause", "paused")])
def test_the_orphan_of_a_cancel_or_pause_becomes_that(
    database: Database, claimed: Callable[..., Claim], change: str, left_in: str
) -> None:
    """If a worker dies while it is asked to cancel or pause, rescue does what the client asked for."""
    claim = claimed(lease_seconds=0.05)
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, claim.job_id, change))
    time.sleep(0.1)
    assert database.write(lambda session: rescue_job(session, claim.job_id, 1)) == left_in


def test_the_third_crash_without_an_epoch_fails_the_job(database: Database, claimed: Callable[..., Claim]) -> None:
    """Twice the job is queued again; the third time it fails as crashed."""
    job_id = claimed(lease_seconds=0.01).job_id
    statuses = []
    for attempt in (1, 2, 3):
        time.sleep(0.03)
        statuses.append(database.write(lambda session, attempt=attempt: rescue_job(session, job_id, attempt)))
        database.write(lambda session: claim_job(session, job_id, owner="w", lease_seconds=0.01))
    assert statuses == ["queued", "queued", "failed"]
    with database.reading() as session:
        job = get_job(session, DEFAULT_PROJECT, job_id)
        assert job.error is not None
        assert (job.error["code"], job.finished_at is not None) == ("crashed", True)


def test_the_leases_of_a_process_that_was_seen_to_die_end_at_once(
    database: Database, submit: Callable[..., Snapshot]
) -> None:
    """Only the leases of that worker's process end; rescue then frees its jobs though their time has not run out."""

    def claim(owner: str, pid: int) -> str:
        job_id = submit()["id"]
        database.write(lambda session: claim_job(session, job_id, owner=owner, pid=pid, lease_seconds=1000))
        return job_id

    dead, living, other = claim("one", 7), claim("one", 8), claim("two", 7)
    database.write(lambda session: expire_leases(session, owner="one", pid=7, crash="signal 9 (SIGKILL)"))
    with database.reading() as session:
        assert [job_id for job_id, _ in expired_jobs(session)] == [dead]
    assert database.write(lambda session: rescue_job(session, dead, 1)) == "queued"
    assert [status_of(database, job_id) for job_id in (living, other)] == ["running", "running"]


def test_the_third_death_is_told_with_its_cause(database: Database, claimed: Callable[..., Claim]) -> None:
    """The error of a crashed job names the signal that ended its last process."""
    claim = claimed()
    for attempt in (1, 2, 3):
        database.write(
            lambda session: session.execute(update(Job).where(Job.id == claim.job_id).values(owner="one", owner_pid=7))
        )
        database.write(lambda session: expire_leases(session, owner="one", pid=7, crash="signal 11 (SIGSEGV)"))
        database.write(lambda session, attempt=attempt: rescue_job(session, claim.job_id, attempt))  # type: ignore[misc]
        if attempt < 3:
            database.write(lambda session: claim_job(session, claim.job_id, owner="w", lease_seconds=30))
    with database.reading() as session:
        job = get_job(session, DEFAULT_PROJECT, claim.job_id)
    assert job.error is not None
    assert (job.status, job.error["code"]) == ("failed", "crashed")
    assert job.error["message"].endswith("the last time of signal 11 (SIGSEGV)")


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_the_database_itself_refuses_to_change_a_final_status(
    database: Database, claimed: Callable[..., Claim], status: str
) -> None:
    """It refuses whatever statement asks; other columns may still change."""
    claim = claimed()
    if status == "cancelled":
        database.write(lambda session: change_status(session, DEFAULT_PROJECT, claim.job_id, "cancel"))
    database.write(lambda session: end_attempt(session, claim, status))

    def change(**values: object) -> None:
        database.write(lambda session: session.execute(update(Job).where(Job.id == claim.job_id).values(**values)))

    with pytest.raises(IntegrityError, match="a final job is not changed"):
        change(status="queued")
    change(name="renamed", status=status)
    assert status_of(database, claim.job_id) == status
