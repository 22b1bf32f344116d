"""Jobs are accepted once, listed, counted and placed."""

import threading
from collections.abc import Callable

import pytest

from tests.conftest import spec_of
from worker.errors import IdempotencyError, StateError
from worker.records.idempotency import Answered, Request
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.job_counts import count_by_status
from worker.records.jobs import list_jobs, queue_positions
from worker.records.lease import Claim
from worker.records.new_jobs import JobColumns, submit_job
from worker.records.queue import queue_figures, undelivered
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job

PLAN = JobColumns(features=[], classes=None, parameters=1, layers=[])


def submitted(database: Database, request: Request | None, limit: int = 100) -> Answered:
    return database.write(
        lambda session: submit_job(
            session, DEFAULT_PROJECT, spec_of(), PLAN, room=QueueRoom(Job, limit), request=request
        )
    )


def test_a_repeat_with_the_same_key_gets_the_same_answer(database: Database) -> None:
    """No second job is made; the same key with another request is an error."""
    first = submitted(database, Request("key", "a" * 64))
    assert not first.replayed
    assert submitted(database, Request("key", "a" * 64)) == first._replace(replayed=True)
    with pytest.raises(IdempotencyError):
        submitted(database, Request("key", "b" * 64))


def test_equal_requests_at_once_make_one_job(database: Database) -> None:
    """Eight threads, one key: one new job, and everybody gets its id."""
    barrier, answers = threading.Barrier(8), []

    def post() -> None:
        barrier.wait()
        answers.append(submitted(database, Request("key", "a" * 64)))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({answered.answer["id"] for answered in answers}) == 1
    assert sum(not answered.replayed for answered in answers) == 1


def test_a_full_queue_takes_no_more(database: Database) -> None:
    """One job over the limit is refused, and the message says the limit."""
    submitted(database, None, limit=1)
    with pytest.raises(StateError, match="the limit is 1"):
        submitted(database, None, limit=1)


def test_lists_are_newest_first_in_pages_and_filtered(database: Database, submit: Callable[..., Snapshot]) -> None:
    """The filters are tag, name and status, within the project; places in the queue count from the oldest job."""
    ids = [submit(name=f"job {n}", tags=["even"] if n % 2 == 0 else ["odd"])["id"] for n in range(5)]
    with database.reading() as session:
        page, older = list_jobs(session, DEFAULT_PROJECT, limit=3)
        assert ([job.id for job in page], older) == (ids[:1:-1], ids[2])
        rest, older = list_jobs(session, DEFAULT_PROJECT, before=older, limit=3)
        assert ([job.id for job in rest], older) == (ids[1::-1], None)
        tagged, _ = list_jobs(session, DEFAULT_PROJECT, tag="odd", limit=10)
        assert {job.name for job in tagged} == {"job 1", "job 3"}
        assert list_jobs(session, DEFAULT_PROJECT, name="job 4", limit=10)[0][0].id == ids[4]
        assert list_jobs(session, DEFAULT_PROJECT, statuses=("running",), limit=10)[0] == []
        assert list_jobs(session, "prj_other", limit=10) == ([], None)
        assert queue_positions(session, page) == {ids[4]: 5, ids[3]: 4, ids[2]: 3}
        assert count_by_status(session, DEFAULT_PROJECT) == {"queued": 5}


def test_the_queue_knows_its_depth_and_age(
    database: Database, submit: Callable[..., Snapshot], claimed: Callable[..., Claim]
) -> None:
    """It counts the jobs that wait and run, and finds those whose message may be lost."""
    claimed()
    job_id = submit()["id"]
    with database.reading() as session:
        figures = queue_figures(session)
        assert (figures.depth, figures.running) == (1, 1)
        assert figures.oldest_seconds is not None
        assert 0 <= figures.oldest_seconds < 10
        assert undelivered(session, older_than_seconds=60, limit=5) == []
        assert undelivered(session, older_than_seconds=-1, limit=5) == [job_id]
