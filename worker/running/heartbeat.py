"""Signs of life of a running job, from a thread with a connection of its own."""

import threading
import time

import structlog

from worker.errors import LeaseLostError
from worker.records.lease import Claim, guard, held_status
from worker.records.sessions import Database
from worker.running.stopping import Stopping

log = structlog.get_logger()

LOOK_SECONDS = 0.5


class Heartbeat(threading.Thread):
    """Renews the lease at a third of it, looks for a cancel or pause twice a second, and fences the run itself.

    Two thirds of a lease without a renewal: the run must stop before anyone else may claim the job.
    """

    def __init__(self, database: Database, claim: Claim, stopping: Stopping) -> None:
        super().__init__(name=f"heartbeat-{claim.job_id}", daemon=True)
        self._database, self._claim, self._stopping = database, claim, stopping
        self._ended = threading.Event()
        self._renewed = self._looked = time.monotonic()

    def renewed(self) -> None:
        """Somebody else, a guarded write, renewed the lease."""
        self._renewed = self._looked = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        lease = self._claim.lease_seconds
        while not self._ended.wait(min(LOOK_SECONDS, lease / 10)):
            silent = time.monotonic() - self._renewed
            if silent > lease * 2 / 3:
                log.warning("lease_not_renewed", seconds=round(silent, 1))
                self._stopping.tell_lease_lost()
                return
            try:
                if silent >= lease / 3:
                    self._renew()
                elif time.monotonic() - self._looked >= LOOK_SECONDS:
                    self._look()
            except LeaseLostError:
                self._stopping.tell_lease_lost()
                return
            except Exception as error:  # noqa: BLE001 - the next beat tries again, or the run fences itself
                log.warning("heartbeat_failed", error=repr(error))

    def _renew(self) -> None:
        began = time.monotonic()
        guarded = self._database.write(lambda session: guard(session, self._claim))
        # counted from before the write: the database's clock may have set the lease at any moment since
        self._renewed = self._looked = began
        self._stopping.tell_status(guarded.status)

    def _look(self) -> None:
        with self._database.reading() as session:
            self._stopping.tell_status(held_status(session, self._claim))
        self._looked = time.monotonic()
