"""A training process: runs what has waited longest when its parent asks, until it is asked to end or is orphaned."""

import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, assert_never

import psutil

# imported here because a server that has imported this module forks these processes: they share its memory, and a first
# job does not wait for the imports
import sklearn.datasets
import sklearn.metrics
import sklearn.model_selection  # noqa: F401
import structlog

from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.processes.entry import PULSE_SECONDS
from worker.records.connections import TRAINING_CONNECTIONS
from worker.records.lease import Claim
from worker.records.predictions import PredictionClaim
from worker.records.queue import claim_oldest
from worker.records.sessions import Database
from worker.running.attempt import claim_for
from worker.running.predicting import TablePredictor
from worker.running.run import Runner
from worker.running.stopping import Progress
from worker.runtime import configure_log, limit_memory
from worker.settings import Settings

log = structlog.get_logger()

# how much of a message is logged: others may have written it, at any length
ID_LENGTH = 40
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Child:
    """Claims and runs, for each id from the parent, the job or prediction that has waited longest.

    The id only says that something waits: it is logged and not believed. The process sends the parent None whenever it
    is ready for an id, and while it runs something, twice a second, the number of steps made so far. On SIGTERM, or
    when the parent is gone, the job takes a checkpoint at its next batch and is released.
    """

    def __init__(self, parent: Connection, owner: str) -> None:
        settings = Settings()
        configure_log(settings.log_level)
        self._parent, self._sending = parent, threading.Lock()
        self._ids: SimpleQueue[str | None] = SimpleQueue()
        self._busy = False
        self._shutdown, self._progress = threading.Event(), Progress()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        overflow = TRAINING_CONNECTIONS - 1
        database = Database(settings.database, name="gradmill training", pool_size=1, overflow=overflow)
        storage = Storage(settings.storage)
        known: dict[str, Any] = {"database": database, "settings": settings, "owner": owner}
        known |= {"datasets": Datasets(database, storage, settings.limits)}
        known |= {"shutdown": self._shutdown, "progress": self._progress}
        self._runner = Runner(**known, announce=Doorbell(settings).announce)
        self._predictor = TablePredictor(**known, storage=storage)
        limit_memory(settings.job_memory_bytes or machine_memory_bytes() // settings.workers)

    def live(self) -> None:
        """Run jobs and predictions until asked to end."""
        threading.Thread(target=self._listen, name="pulse", daemon=True).start()
        self._set_busy(False)
        while (row_id := self._ids.get()) is not None:
            self._set_busy(True)
            try:
                self._run_oldest(row_id)
            except Exception as error:
                # the claim failed; what waits is still queued, and is rung for again
                log.exception("not_claimed", rung_for=row_id[:ID_LENGTH], error=repr(error))
            self._set_busy(False)

    def _run_oldest(self, rung_for: str) -> None:
        """Run the job, or the prediction of a whole table, that has waited longest; nothing if none waits."""
        if self._shutdown.is_set():
            # another process has more time for it
            return
        claim = claim_for(self._runner, claim_oldest)
        log.debug("rung", rung_for=rung_for[:ID_LENGTH], claimed=claim is not None)
        match claim:
            case Claim():
                self._runner.run_claim(claim)
            case PredictionClaim():
                self._predictor.run_claim(claim)
            case None:
                # others have claimed, cancelled or deleted what the message was made for
                pass
            case _:
                assert_never(claim)

    def _set_busy(self, busy: bool) -> None:
        # the flag and the pipe share a lock, so that no number of steps can follow the None that ends a job
        with self._sending, suppress(OSError):
            self._busy = busy
            if not busy:
                self._parent.send(None)

    def _listen(self) -> None:
        try:
            while True:
                if self._parent.poll(PULSE_SECONDS):
                    self._ids.put(self._parent.recv())
                with self._sending:
                    if self._busy:
                        self._parent.send(self._progress.steps)
        except (EOFError, OSError):
            self._end()

    def _end(self, *_: object) -> None:
        self._shutdown.set()
        self._ids.put(None)


def machine_memory_bytes() -> int:
    """Return the memory of this machine, or of the container that this process runs in."""
    total: int = psutil.virtual_memory().total
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # no container, or one without a limit
        return total
