"""Signs of life of a running job or prediction, from a thread with a connection of its own."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import structlog
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError
from worker.records.sessions import Database
from worker.running.stopping import Stopping
from worker.runtime import uptime

log = structlog.get_logger()

LOOK_SECONDS = 0.5
END_SECONDS = 5.0


class Holding(NamedTuple):
    """What is held, by two calls that give its status and raise LeaseLostError: one renews the lease, one only looks.

    Both are called in a session of the heartbeat's own.
    """

    lease_seconds: float
    renew: Callable[[Session], str]
    look: Callable[[Session], str]


class Heartbeat(threading.Thread):
    """Renews the lease at a third of it, and looks for a cancel or pause twice a second."""

    def __init__(self, database: Database, stopping: Stopping, holding: Holding) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._database, self._stopping, self._holding = database, stopping, holding
        self._ended = threading.Event()
        self._looked = uptime()

    def end(self) -> None:
        self._ended.set()
        # it may hang in a call to a database that is gone; what it does after that, the guard refuses
        self.join(END_SECONDS)

    def run(self) -> None:
        lease = self._holding.lease_seconds
        while not self._ended.wait(min(LOOK_SECONDS, lease / 10)):
            now = uptime()
            try:
                if now - self._stopping.renewed_at >= lease / 3:
                    self._renew()
                elif now - max(self._looked, self._stopping.renewed_at) >= LOOK_SECONDS:
                    self._look()
            except LeaseLostError:
                self._stopping.tell_lease_lost()
                return
            except Exception as error:  # noqa: BLE001 - the next beat tries again, or the run fences itself
                log.warning("heartbeat_failed", error=repr(error))

    def _renew(self) -> None:
        began = uptime()
        status = self._database.write(self._holding.renew)
        # counted from before the write: the database's clock may have set the lease at any moment since
        self._stopping.renewed(began)
        self._stopping.tell_status(status)

    def _look(self) -> None:
        with self._database.reading() as session:
            self._stopping.tell_status(self._holding.look(session))
        self._looked = uptime()
