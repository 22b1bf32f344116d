"""Backup, kill, restore elsewhere, resume: again and again, each time on what the last restore made."""

import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks.service import postgresql
from tests.faults.invariants import assert_invariants, result_of
from tests.faults.kills import SPEC, Tally
from tests.faults.workers import House
from worker.backup.back_up import back_up
from worker.backup.check import check
from worker.backup.restore import restore
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.states import FINAL
from worker.settings import Limits

CSV = b"x,label\n" + b"".join(b"%d,%d\n" % (n, n % 2) for n in range(5000))


def backup_loop(house: House, cycles: int, *, seed: int = 1) -> Tally:
    """A worker trains; at a random moment the record is backed up, and then its worker is killed. Everything is
    restored into a new database and a new storage, where another worker takes up the job."""
    tally, chance, job_ids = Tally(), random.Random(seed), list[str]()
    machine = ExitStack()
    with tempfile.TemporaryDirectory() as backups:
        try:
            worker = machine.enter_context(house.worker())
            expected = house.result(house.submit(SPEC))
            upload = store(house)
            while tally.cycles < cycles:
                job_ids.append(house.submit(SPEC))
                after = chance.randrange(5, 300)
                reached(house, job_ids[-1], after)
                backup = Path(backups) / str(tally.cycles)
                back_up(house.database, storage_of(house), backup)
                worker.signal(signal.SIGKILL)
                began = time.monotonic()
                new = ExitStack()
                house = new.enter_context(another_house(house))
                restore(house.database, storage_of(house), backup, lease_seconds=house.settings.lease_seconds)
                # the old machine is gone, with all that it had
                machine.close()
                machine = new
                attempt = house.job(job_ids[-1]).attempt
                worker = machine.enter_context(house.worker())
                next_attempt(house, job_ids[-1], attempt)
                tally.seconds.append(time.monotonic() - began)
                tally.wrong_bits += house.result(job_ids[-1]) != expected
                tally.cycles += 1
                tally.jobs += 1
            # what the earlier cycles brought along is still there, whole
            assert_invariants(house.database, job_ids)
            tally.wrong_bits += sum(result_of(house.database, job_id) != expected for job_id in job_ids)
            assert storage_of(house).read(upload) == CSV
            faults = [found for found in check(house.database, storage_of(house)).findings if found.is_fault]
            assert faults == []
        finally:
            machine.close()
    return tally


def reached(house: House, job_id: str, epoch: int) -> None:
    house.wait(job_id, lambda job: job.epoch > epoch or job.status in FINAL)


def next_attempt(house: House, job_id: str, attempt: int) -> None:
    house.wait(job_id, lambda job: job.attempt > attempt or job.status in FINAL)


def store(house: House) -> str:
    """Upload a table; its key."""
    row, _ = Datasets(house.database, storage_of(house), Limits()).store(DEFAULT_PROJECT, "t", CSV)
    return row.storage_key


def storage_of(house: House) -> Storage:
    return Storage(house.settings.storage)


@contextmanager
def another_house(house: House) -> Iterator[House]:
    """A machine with a database of the same kind, without a table, and a folder without a file."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        url = f"sqlite:///{Path(folder) / 'gradmill.db'}"
        if house.database.engine.dialect.name == "postgresql":
            url = opened.enter_context(postgresql()).replace("postgresql://", "postgresql+psycopg://")
        database = Database(url)
        opened.callback(database.close)
        settings = house.settings.model_copy(update={"data_dir": Path(folder), "database_url": url})
        yield House(database, settings, Path(folder))
