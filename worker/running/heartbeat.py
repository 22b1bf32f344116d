"""The heartbeat of a running attempt: a thread that renews the lease, on another connection if the run uses its own."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError
from worker.records.sessions import Database
from worker.records.states import Status
from worker.running.stopping import Stopping
from worker.runtime import uptime
from worker.settings import Lease

log = structlog.get_logger()

LOOK_SECONDS = 0.5
END_SECONDS = 5.0


class Heartbeat(threading.Thread):
    """Renews the lease in time, and checks twice a second whether a client has asked for a cancel or a pause.

    renew: renews the lease and returns the row's status.
    read_status: returns the row's status without writing.
    Both are called in a session of this thread, and raise LeaseLostError.
    """

    def __init__(
        self,
        database: Database,
        stopping: Stopping,
        lease: Lease,
        *,
        renew: Callable[[Session], Status],
        read_status: Callable[[Session], Status],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._database, self._stopping, self._lease = database, stopping, lease
        self._renew, self._read_status = renew, read_status
        self._ended = threading.Event()
        self._looked_at = uptime()

    def end(self) -> None:
        """Stop the thread, and wait a few seconds for it."""
        self._ended.set()
        # it may hang in a call to a database that is away; if it writes later, the guard refuses that
        self.join(END_SECONDS)

    def run(self) -> None:
        while not self._ended.wait(self._lease.tick_seconds):
            try:
                self._beat()
            except LeaseLostError:
                self._stopping.lease_was_lost()
                return
            except Exception as error:  # noqa: BLE001 - the next beat tries again, or the run fences itself
                log.warning("heartbeat_failed", error=repr(error))

    def _beat(self) -> None:
        now = uptime()
        if now - self._stopping.renewed_at >= self._lease.beat_seconds:
            status = self._database.write(self._renew)
            # count from before the write, since the database may have set the lease at any moment after that
            self._stopping.renewed(now)
            self._stopping.status_is(status)
        elif now - max(self._looked_at, self._stopping.renewed_at) >= LOOK_SECONDS:
            with self._database.reading() as session:
                self._stopping.status_is(self._read_status(session))
            self._looked_at = uptime()
