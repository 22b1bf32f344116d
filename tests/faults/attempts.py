"""One attempt at one job, in a process of its own that a test may trace and kill."""

import itertools
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.sessions import Database
from worker.running.run import Runner
from worker.settings import Limits, Settings


@dataclass(frozen=True)
class Attempt:
    """The database, the storage, and the job of an attempt."""

    url: str
    folder: Path
    job_id: str


def run(attempt: Attempt, *, stops: bool) -> str | None:
    """Run the job. stops: take a checkpoint and release the job once its first epochs are recorded."""
    shutdown, announcements = threading.Event(), itertools.count()

    def announce(_job_id: str) -> None:
        if stops and next(announcements) == 1:
            shutdown.set()

    database = Database(attempt.url)
    datasets = Datasets(database, Storage(str(attempt.folder / "storage")), Limits())
    runner = Runner(database, datasets, Settings(lease_seconds=60), shutdown, "wrk_test", announce)
    status = runner.run_job(attempt.job_id)
    database.close()
    return status


def run_when_told(go: Connection, attempt: Attempt) -> None:
    go.recv()
    run(attempt, stops=True)
