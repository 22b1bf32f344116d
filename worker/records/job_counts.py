"""How many jobs a project has by status, at the same cost for a million jobs as for a thousand.

Jobs that have not ended are counted. For the others, a trigger adds a row to `job_count_changes` whenever one ends, or
is deleted after that; workers add these rows up in `job_counts`.
"""

from collections import Counter

from sqlalchemy import delete, func, insert, literal, select, union_all, update
from sqlalchemy.orm import Session

from worker.records.states import OPEN, Status
from worker.records.tables import Job, JobCount, JobCountChange

ADDED_AT_ONCE = 1000


def count_by_status(session: Session, project_id: str) -> dict[Status, int]:
    """Return how many jobs each status has; a status without jobs is left out."""
    # one statement, so that changes that are being added up are seen in exactly one place
    known = union_all(
        select(JobCount.status, JobCount.count.label("n")).where(JobCount.project_id == project_id),
        select(JobCountChange.status, JobCountChange.change).where(JobCountChange.project_id == project_id),
        *(
            select(literal(status), func.count()).where(Job.project_id == project_id, Job.status == status)
            for status in OPEN
        ),
    ).subquery()
    counts = select(known.c.status, func.sum(known.c.n)).group_by(known.c.status)
    return {status: int(count) for status, count in session.execute(counts) if count}


def add_up_changes(session: Session) -> int:
    """Move some changes, at most ADDED_AT_ONCE, into the counts, and return how many they were."""
    some = select(JobCountChange.id).order_by(JobCountChange.id).limit(ADDED_AT_ONCE)
    # a worker that adds up at the same time takes others
    ids = session.scalars(some.with_for_update(skip_locked=True)).all()
    taken = delete(JobCountChange).where(JobCountChange.id.in_(ids))
    columns = JobCountChange.project_id, JobCountChange.status, JobCountChange.change
    rows = session.execute(taken.returning(*columns)).all() if ids else []
    sums: Counter[tuple[str, Status]] = Counter()
    for project_id, status, change in rows:
        sums[project_id, status] += change
    # in one order, so that two workers do not wait for each other
    for (project_id, status), change in sorted(sums.items()):
        known = JobCount.project_id == project_id, JobCount.status == status
        added = update(JobCount).where(*known).values(count=JobCount.count + change).returning(JobCount.count)
        if session.scalar(added) is None:
            # if another worker adds the row first, this transaction is run again
            session.execute(insert(JobCount).values(project_id=project_id, status=status, count=change))
    return len(rows)
