"""Sweeps the database and the storage: deletes old and unreferenced rows and bytes, in short transactions."""

import threading
import time

import structlog

from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.blobs import sweep_blobs
from worker.records.job_counts import add_up_changes
from worker.records.retention import Sweep, sweeps
from worker.records.sessions import Database
from worker.records.space import give_back
from worker.settings import Retention, Settings

log = structlog.get_logger()

SECONDS_BETWEEN_ROUNDS = 60.0
SECONDS_OF_A_ROUND = 2.0


class Sweeper(threading.Thread):
    """Sweeps every minute, for two seconds at most. If more is left, it rests as long as it has worked, and goes on.

    It has a thread and a connection of its own, so that a worker's heartbeat never waits for a sweep.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._retention = settings.retention
        self._database = Database(settings.database, name="gradmill sweeper", pool_size=1, overflow=0)
        self._datasets = Datasets(self._database, Storage(settings.storage), settings.limits)
        self._ended = threading.Event()

    def ask_to_end(self) -> None:
        """Ask the thread to end. Does not wait: it is called from a signal's handler."""
        self._ended.set()

    def run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            try:
                is_done = sweep_all(self._database, self._datasets, self._retention)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next round must come
                log.warning("sweep_failed", error=repr(error))
                is_done = True
            pause = SECONDS_BETWEEN_ROUNDS if is_done else SECONDS_OF_A_ROUND


def all_sweeps(retention: Retention) -> list[Sweep]:
    """Return every sweep of the database, in the order in which they take their turns."""
    return [add_up_changes, sweep_blobs, *sweeps(retention)]


def sweep_all(
    database: Database, datasets: Datasets, retention: Retention, *, seconds: float = SECONDS_OF_A_ROUND
) -> bool:
    """Delete what is old or unreferenced, and add up the counts of jobs. Return whether nothing is left to do.

    seconds: begin no transaction after this long. What is left is deleted in a later round.
    """
    ends = time.monotonic() + seconds
    left = all_sweeps(retention)
    # each sweep in turn, so that one with much to do does not keep the others waiting
    while left and time.monotonic() < ends:
        left = [sweep for sweep in left if time.monotonic() < ends and database.write(sweep) > 0]
    datasets.sweep()
    give_back(database)
    return not left
