"""Counts of jobs by status, pages of rare jobs, places in the queue, and its limit: right, and at a bounded cost."""

import threading
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.statements import sent_to
from worker.errors import StateError
from worker.intake.datasets import Datasets
from worker.records import jobs, queue_room
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.job_counts import add_up_changes, count_by_status
from worker.records.jobs import delete_job, get_job, list_jobs, queue_positions
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job, JobCount, JobCountChange
from worker.records.transitions import change_status
from worker.settings import Retention
from worker.sweeping import sweep_all

Submit = Callable[..., Snapshot]


def counted(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return dict(count_by_status(session, DEFAULT_PROJECT))


def really(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return dict(Counter(session.scalars(select(Job.status))))


def cancel(database: Database, job_id: str) -> None:
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, "cancel"))


def counts(database: Database, work: Callable[[], object]) -> int:
    """Do the work, and return how many statements counted rows meanwhile."""
    with sent_to(database.engine) as sent:
        work()
    return sum("count(" in statement.text for statement in sent)


def pages(database: Database, *, limit: int, **filters: Any) -> list[list[str]]:
    """Return the ids of the jobs on each page of a list, by following its cursors."""
    found: list[list[str]] = []
    before: str | None = None
    while not found or before is not None:
        with database.reading() as session:
            page, before = list_jobs(session, DEFAULT_PROJECT, before=before, limit=limit, **filters)
        found.append([job.id for job in page])
    return found


def test_counts_are_right_before_and_after_they_are_added_up(database: Database, submit: Submit) -> None:
    """Jobs that wait, have ended, and were deleted, by their status; a sum of zero is left out."""
    ids = [submit()["id"] for _ in range(6)]
    for job_id in ids[:4]:
        cancel(database, job_id)
    assert counted(database) == really(database) == {"queued": 2, "cancelled": 4}
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, ids[0]))
    assert counted(database) == really(database) == {"queued": 2, "cancelled": 3}
    assert database.write(add_up_changes) == 5
    assert database.write(add_up_changes) == 0
    assert counted(database) == {"queued": 2, "cancelled": 3}
    for job_id in ids[1:4]:
        database.write(lambda session, job_id=job_id: delete_job(session, DEFAULT_PROJECT, job_id))  # type: ignore[misc]
    assert counted(database) == really(database) == {"queued": 2}
    database.write(add_up_changes)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobCountChange)) == 0
        assert session.scalar(select(JobCount.count)) == 0
        assert dict(count_by_status(session, "prj_other")) == {}


def test_counts_are_right_while_workers_add_up(database: Database, submit: Submit) -> None:
    """Two that add up at once, while jobs end, add each change once."""
    ids = [submit()["id"] for _ in range(12)]
    adding = threading.Event()

    def add() -> None:
        while not adding.is_set():
            database.write(add_up_changes)

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n, job_id in enumerate(ids, 1):
        cancel(database, job_id)
        assert counted(database).get("cancelled") == n
    adding.set()
    for thread in threads:
        thread.join()
    database.write(add_up_changes)
    assert counted(database) == {"cancelled": 12}


def test_a_place_is_told_up_to_a_limit(database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is further behind is told the limit."""
    monkeypatch.setattr(jobs, "POSITIONS_LIMIT", 4)
    ids = [submit()["id"] for _ in range(6)]
    with database.reading() as session:
        rows = [get_job(session, DEFAULT_PROJECT, job_id) for job_id in ids]
        assert [queue_positions(session, rows)[job_id] for job_id in ids] == [1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("filters", [{"name": "odd"}, {"statuses": ("cancelled",)}, {"statuses": ("queued", "failed")}])
def test_pages_of_a_tag_and_more_are_short_but_miss_nothing(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any]
) -> None:
    """A page looks at three jobs with the tag; all pages together have every job that fits once, newest first."""
    monkeypatch.setattr(jobs, "LOOKED_AT", 3)
    ids = [submit(name="odd" if n % 2 else "even", tags=["all"])["id"] for n in range(8)]
    for job_id in ids[1::2]:
        cancel(database, job_id)
    expected = ids[::-1][1::2] if filters == {"statuses": ("queued", "failed")} else ids[::-1][::2]
    found = pages(database, tag="all", limit=2, **filters)
    assert [*chain(*found)] == expected
    assert len(found) > 2


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": "a"}, [6, 4, 2, 0]),
        ({"name": "a", "statuses": ("cancelled",)}, [4, 0]),
        ({"statuses": ("cancelled", "queued")}, [7, 6, 5, 4, 3, 2, 1, 0]),
        ({"tag": "t"}, [6, 3, 0]),
        ({"tag": "t", "name": "a"}, [6, 0]),
    ],
)
def test_filters_agree_with_the_rows(
    database: Database, submit: Submit, filters: dict[str, Any], expected: list[int]
) -> None:
    """Each filter finds what fits, in pages of one and of all."""
    ids = [submit(name="ab"[n % 2], tags=["t"] if n % 3 == 0 else [])["id"] for n in range(8)]
    for job_id in ids[::4]:
        cancel(database, job_id)
    for limit in (1, 20):
        found = chain(*pages(database, limit=limit, **filters))
        assert [ids.index(job_id) for job_id in found] == expected


def test_a_queue_is_counted_once_a_second_and_before_a_refusal(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between counts a process adds what it submits; a refusal is never made from memory."""
    room, wide = QueueRoom(Job, 3), QueueRoom(Job, 100)
    ids = [submit()["id"] for _ in range(2)]
    with database.reading() as session:
        assert counts(database, lambda: room.take(session, DEFAULT_PROJECT)) == 1
        # 3 are believed to be there, and 2 are: this one has room
        assert counts(database, lambda: room.take(session, DEFAULT_PROJECT)) == 1
        QueueRoom(Job, 9).take(session, "prj_other")
    submit()
    with (
        database.reading() as session,
        pytest.raises(StateError, match="3 jobs are waiting already; the limit is 3"),
    ):
        room.take(session, DEFAULT_PROJECT)
    cancel(database, ids[0])
    with database.reading() as session:
        room.take(session, DEFAULT_PROJECT)
        assert counts(database, lambda: [wide.take(session, DEFAULT_PROJECT) for _ in range(20)]) == 1
        monkeypatch.setattr(queue_room, "KNOWN_SECONDS", 0.0)
        wide = QueueRoom(Job, 100)
        assert counts(database, lambda: [wide.take(session, DEFAULT_PROJECT) for _ in range(3)]) == 3


def test_a_sweep_ends_in_time_and_says_that_more_is_left(
    database: Database, submit: Submit, datasets: Datasets
) -> None:
    """Without time it does nothing; with time it does all, and the next one has nothing to do."""
    cancel(database, submit()["id"])
    assert not sweep_all(database, datasets, Retention(), seconds=0)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobCountChange)) == 1
    assert sweep_all(database, datasets, Retention(), seconds=60)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobCountChange)) == 0
