"""A training process: runs the jobs and predictions that its parent names, until it is told to end or orphaned."""

import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

# what a first job would wait for; imported by the server that forks these processes, which share its memory
import sklearn.datasets
import sklearn.metrics
import sklearn.model_selection  # noqa: F401
import structlog

from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.processes.memory import limit_memory, memory_of_machine
from worker.records.sessions import Database
from worker.running.predicting import TablePredictor
from worker.running.run import Runner
from worker.running.stopping import Progress
from worker.runtime import configure_log
from worker.settings import Settings

log = structlog.get_logger()

PULSE_SECONDS = 0.5


class Child:
    """Takes job ids from the parent; sends it the number of steps made, twice a second, and None after each job.

    SIGTERM, or a parent that is gone: the job takes a checkpoint at its next batch and is released.
    """

    def __init__(self, parent: Connection, owner: str) -> None:
        settings = Settings()
        configure_log(settings.log_level)
        self._parent, self._telling = parent, threading.Lock()
        self._jobs: SimpleQueue[str | None] = SimpleQueue()
        self._shutdown, self._progress = threading.Event(), Progress()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        database, storage = Database(settings.database, pool_size=2), Storage(settings.storage)
        known: dict[str, Any] = {"database": database, "settings": settings, "owner": owner}
        known |= {"datasets": Datasets(database, storage, settings.limits)}
        known |= {"shutdown": self._shutdown, "progress": self._progress}
        self._runner = Runner(**known, announce=Doorbell(settings).announce)
        self._predictor = TablePredictor(**known, storage=storage)
        limit_memory(settings.job_memory_bytes or memory_of_machine() // settings.workers)

    def live(self) -> None:
        threading.Thread(target=self._listen, name="pulse", daemon=True).start()
        while (job_id := self._jobs.get()) is not None:
            try:
                self._run(job_id)
            except Exception as error:
                # the claim failed; the job still waits, and is rung for again
                log.exception("not_claimed", job_id=job_id, error=repr(error))
            with suppress(OSError):
                self._tell(None)

    def _run(self, row_id: str) -> None:
        """By its prefix, a job or the prediction of a whole table."""
        if row_id.startswith("prd_"):
            self._predictor.run_prediction(row_id)
        else:
            self._runner.run_job(row_id)

    def _listen(self) -> None:
        try:
            while True:
                if self._parent.poll(PULSE_SECONDS):
                    self._jobs.put(self._parent.recv())
                self._tell(self._progress.steps)
        except (EOFError, OSError):
            self._end()

    def _tell(self, news: int | None) -> None:
        with self._telling:
            self._parent.send(news)

    def _end(self, *_: object) -> None:
        self._shutdown.set()
        self._jobs.put(None)


def main(parent: Connection, owner: str) -> None:
    """owner: the worker's id, in whose name jobs are claimed."""
    Child(parent, owner).live()
