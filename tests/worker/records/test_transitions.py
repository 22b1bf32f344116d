"""The table of states, and what a client may ask of each."""

from collections.abc import Callable

import pytest

from worker.errors import NotFoundError, StateError
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import delete_job, get_job
from worker.records.lease import Claim
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.transitions import change_status, end_attempt


@pytest.mark.parametrize(("change", "status"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")])
def test_a_waiting_job_changes_at_once_and_again_is_no_change(
    database: Database, submit: Callable[..., Snapshot], change: str, status: str
) -> None:
    """Without a worker the change is done at once; asked again, it adds no event."""
    job_id = submit()["id"]
    for _ in range(2):
        job = database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, change))
        assert job.status == status
    with database.reading() as session:
        happened = happenings_after(session, job_id, 0, limit=10)
    assert len(happened) == (1 if change == "resume" else 2)


@pytest.mark.parametrize(("change", "status"), [("cancel", "cancelling"), ("pause", "pausing"), ("resume", "running")])
def test_a_running_job_is_asked_and_its_worker_answers(
    database: Database, claimed: Callable[..., Claim], change: str, status: str
) -> None:
    """The status says what is asked for; the end of the attempt then carries it out."""
    claim = claimed()
    job = database.write(lambda session: change_status(session, DEFAULT_PROJECT, claim.job_id, change))
    assert job.status == status
    left_in = database.write(lambda session: end_attempt(session, claim, "queued"))
    assert left_in == {"cancelling": "cancelled", "pausing": "paused", "running": "queued"}[status]


@pytest.mark.parametrize("final", ["succeeded", "failed", "cancelled"])
def test_a_final_state_is_final(database: Database, claimed: Callable[..., Claim], final: str) -> None:
    """Only a repeated cancel is accepted; the end is the last event, and its time is recorded."""
    claim = claimed()
    if final == "cancelled":
        database.write(lambda session: change_status(session, DEFAULT_PROJECT, claim.job_id, "cancel"))
    database.write(lambda session: end_attempt(session, claim, final))
    for change in ("cancel", "pause", "resume"):
        if (change, final) == ("cancel", "cancelled"):
            continue
        with pytest.raises(StateError, match=f"a job that is {final}"):
            database.write(lambda session, change=change: change_status(session, DEFAULT_PROJECT, claim.job_id, change))
    with database.reading() as session:
        last = happenings_after(session, claim.job_id, 0, limit=10)[-1]
        job = get_job(session, DEFAULT_PROJECT, claim.job_id)
    assert (last.kind, last.seq, last.payload["status"]) == ("end", job.seq, final)
    assert job.finished_at is not None
    assert job.lease_until is None


def test_a_job_that_runs_is_not_deleted(database: Database, claimed: Callable[..., Claim]) -> None:
    """It can be deleted as soon as it has ended."""
    claim = claimed(tags=["a"])
    with pytest.raises(StateError, match="cancel it first"):
        database.write(lambda session: delete_job(session, DEFAULT_PROJECT, claim.job_id))
    database.write(lambda session: end_attempt(session, claim, "failed"))
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, claim.job_id))
    with database.reading() as session, pytest.raises(NotFoundError):
        get_job(session, DEFAULT_PROJECT, claim.job_id)


def test_another_projects_job_is_not_there(database: Database, submit: Callable[..., Snapshot]) -> None:
    """Another project can neither read nor change it."""
    job_id = submit()["id"]
    with database.reading() as session, pytest.raises(NotFoundError):
        get_job(session, "prj_other", job_id)
    with pytest.raises(NotFoundError):
        database.write(lambda session: change_status(session, "prj_other", job_id, "cancel"))
