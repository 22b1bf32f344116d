"""Whether a project's queue has room for one more row, without counting the queue at each submission."""

import threading
import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.errors import StateError
from worker.records.holding import Table

KNOWN_SECONDS = 1.0


class QueueRoom:
    """The limit of queued rows of each project, as one process checks it.

    A count is remembered for a second, in which this process adds what it submits. So a few rows too many may be taken
    while several processes fill a queue, but none is refused that has room: before a refusal the rows are counted.
    """

    def __init__(self, table: Table, limit: int) -> None:
        self._table, self._limit = table, limit
        self._lock = threading.Lock()
        # how many rows each project has queued, and until when this is remembered
        self._known: dict[str, tuple[int, float]] = {}

    def take(self, session: Session, project_id: str) -> None:
        """Count one more row of the project. Raises StateError(queue_full) if it has no room."""
        now = time.monotonic()
        with self._lock:
            count, until = self._known.get(project_id, (0, 0.0))
        if now >= until or count >= self._limit:
            count, until = self._count(session, project_id), now + KNOWN_SECONDS
            if count >= self._limit:
                kind = self._table.__tablename__
                raise StateError(f"{count} {kind} are waiting already; the limit is {self._limit}", code="queue_full")
        with self._lock:
            self._known[project_id] = count + 1, until

    def _count(self, session: Session, project_id: str) -> int:
        rows = select(self._table.id).where(self._table.project_id == project_id, self._table.status == "queued")
        return session.scalar(select(func.count()).select_from(rows.limit(self._limit).subquery())) or 0
