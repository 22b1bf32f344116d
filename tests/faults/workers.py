"""Celery workers of a test's own, to stop, freeze and kill; jobs are submitted without an API."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.up.supervisor import worker_command
from tests.faults.invariants import Result, assert_invariants, result_of
from tests.products import session_of
from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.intake.submission import Intake
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.states import FINAL
from worker.records.tables import Job
from worker.records.workers import list_workers
from worker.settings import Limits, Settings
from worker.specs.job import Job as Spec


@dataclass
class House:
    """A database, perhaps a broker, and a way to submit to them. Workers are started with its settings."""

    database: Database
    settings: Settings
    folder: Path

    def submit(self, spec: dict[str, Any]) -> str:
        job = Spec.model_validate(spec)
        datasets = Datasets(self.database, Storage(self.settings.storage), Limits())
        doorbell = Doorbell(self.settings) if self.settings.redis_url else None
        intake = Intake(self.database, datasets, Limits(), doorbell.ring if doorbell else lambda _id: None)
        snapshot = intake.submit(DEFAULT_PROJECT, job).answer
        if doorbell:
            doorbell.close()
        return str(snapshot["id"])

    def job(self, job_id: str) -> Job:
        with self.database.reading() as session:
            return session.get_one(Job, job_id)

    def wait(self, job_id: str, what: Callable[[Job], object], seconds: float = 60) -> Job:
        """Wait until this is true of the job, and return it."""
        until = time.monotonic() + seconds
        while not what(job := self.job(job_id)):
            assert time.monotonic() < until, f"{(job.status, job.attempt, job.epoch, job.error)}\n{self.log()}"
            time.sleep(0.02)
        return job

    def log(self, lines: int = 40) -> str:
        """The last lines of the workers' log."""
        path = self.folder / "worker.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def wait_until(self, what: Callable[[], object], seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, "it did not come true"
            time.sleep(0.02)

    def result(self, job_id: str) -> Result:
        """Wait until the job has succeeded, check its whole record, and return its bits."""
        job = self.wait(job_id, lambda job: job.status in FINAL)
        assert job.status == "succeeded", job.error
        assert_invariants(self.database, [job_id])
        return result_of(self.database, job_id)

    @contextmanager
    def worker(self, *, processes: int = 1, options: Sequence[str] = (), **environment: str) -> Iterator["Worker"]:
        """A worker that is ready, and gone at the end. options: more words for its command line."""
        worker = Worker(self, options, {"GRADMILL_WORKERS": str(processes)} | environment)
        try:
            worker.wait_until_ready()
            yield worker
        finally:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGKILL)
            worker.process.wait()


class Worker:
    """A worker's processes, from its parent down."""

    def __init__(self, house: House, options: Sequence[str], environment: dict[str, str]) -> None:
        settings = house.settings
        own = {
            "GRADMILL_DATA_DIR": str(settings.data_dir),
            "GRADMILL_DATABASE_URL": settings.database,
            "GRADMILL_REDIS_URL": settings.redis_url,
            "GRADMILL_LEASE_SECONDS": str(settings.lease_seconds),
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._house = house
        with (house.folder / "worker.log").open("ab") as log:
            # a session of its own: what belongs to it can be found, and nothing else is hit
            self.process = subprocess.Popen(
                [*worker_command(settings), *options],
                env=os.environ | own | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        until = time.monotonic() + 60
        while not self._beats():
            assert self.process.poll() is None, f"the worker fell: {self.process.returncode}\n{self._house.log()}"
            assert time.monotonic() < until, "the worker was not ready"
            time.sleep(0.05)

    def _beats(self) -> bool:
        own = self.pids()
        with self._house.database.reading() as session:
            return any(row.pid in own for row, _ in list_workers(session))

    def pids(self) -> list[int]:
        """The pids of its parent, its fork server and its training processes."""
        everything = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in everything if session_of(pid) == self.process.pid]

    def signal(self, number: signal.Signals) -> None:
        """Send the signal to all of its processes."""
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def freeze(self) -> None:
        """Send SIGSTOP at a moment when the worker holds none of SQLite's locks.

        A holder that sleeps would stop every other writer. Nobody could then take the job, so nothing would be tested.
        """
        while True:
            self.signal(signal.SIGSTOP)
            # one that is in a system call stops behind it, and that call may take a lock
            self._house.wait_until(lambda: all(_is_stopped(pid) for pid in self.pids()))
            if self._house.database.engine.dialect.name != "sqlite" or is_unlocked(self._house.database):
                return
            self.signal(signal.SIGCONT)
            time.sleep(0.01)

    def stop(self) -> int:
        """Send SIGTERM to the parent alone, as a deployment does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


def _is_stopped(pid: int) -> bool:
    """Return whether no thread of the process runs. Source: proc(5), /proc/pid/task/tid/stat."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        # it, or one of its threads, ends at this moment
        return False
    return all(stat.rpartition(")")[2].split()[0] in "TZX" for stat in stats)


def is_unlocked(database: Database) -> bool:
    """Return whether no process reads or writes this SQLite database at this moment."""
    with closing(sqlite3.connect(str(database.engine.url.database), timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        return True
