"""The long form, `make faults`: loops of faults, printed as a table. Names and a number of cycles select some.

python -m tests.faults [child|worker|zombie|cancel|backup|deploy|soak|crowd ...] [CYCLES]
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from migrations.schema import upgrade
from tests.benchmarks.service import postgresql
from tests.faults.backups import backup_loop
from tests.faults.crowd import run_crowd
from tests.faults.kills import Tally
from tests.faults.loops import cancel_loop, deploy_loop, freeze, kill_child, kill_worker, strike_loop
from tests.faults.pgbouncer import pgbouncer
from tests.faults.servers import redis_server
from tests.faults.soak import soak
from tests.faults.workers import House
from worker.records.sessions import Database
from worker.settings import Settings

LEASE_SECONDS = 2
LOOPS: dict[str, tuple[str, int, Callable[[House, int], Tally]]] = {
    "child": ("kill -9 of the process that trains", 300, lambda house, n: strike_loop(house, n, kill_child)),
    "worker": ("kill -9 of its whole worker", 300, lambda house, n: strike_loop(house, n, kill_worker)),
    "zombie": ("SIGSTOP past the lease, then SIGCONT", 200, lambda house, n: strike_loop(house, n, freeze)),
    "cancel": ("cancel of a running job", 200, cancel_loop),
    "backup": ("backup, loss of everything, restore elsewhere", 100, backup_loop),
    "deploy": ("SIGTERM to the worker", 100, deploy_loop),
}
SOAK_JOBS = 20_000
CROWD_WORKERS = 50
CROWD_SECONDS = 600


@contextmanager
def database_url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "SQLite":
        yield f"sqlite:///{folder / 'gradmill.db'}"
    else:
        with postgresql() as url:
            yield url.replace("postgresql://", "postgresql+psycopg://")


def measure(name: str, kind: str, cycles: int | None) -> None:
    title, usual, loop = LOOPS[name]
    with tempfile.TemporaryDirectory() as folder, database_url(kind, Path(folder)) as url, redis_server() as server:
        database = Database(url)
        upgrade(database.engine)
        settings = Settings(
            data_dir=Path(folder), database_url=url, redis_url=server.url, lease_seconds=LEASE_SECONDS, workers=1
        )
        began = time.monotonic()
        # a job that is lost, ends twice or has an epoch twice ends the loop with an error
        tally = loop(House(database, settings, Path(folder)), cycles or usual)
        database.close()
    ordered = sorted(tally.seconds)
    print(
        f"| {title}, {kind} | {tally.cycles} | {tally.jobs} | 0 | 0 | {tally.wrong_bits} "
        f"| {ordered[len(ordered) // 2]:.2f} s | {ordered[int(len(ordered) * 0.99)]:.2f} s |"
        f"  ({time.monotonic() - began:.0f} s)",
        flush=True,
    )


def measure_crowd(seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, database_url("PostgreSQL", Path(folder)) as url:
        database = Database(url)
        upgrade(database.engine)
        database.close()
        with pgbouncer(url, size=20) as bouncer:
            line = run_crowd(bouncer.url, Path(folder), workers=CROWD_WORKERS, seconds=seconds)
    print(f"PostgreSQL behind pgbouncer: {line}", flush=True)


def main(words: list[str]) -> None:
    cycles = next((int(word) for word in words if word.isdigit()), None)
    names = [word for word in words if not word.isdigit()] or [*LOOPS, "soak", "crowd"]
    print("| fault | cycles | jobs | lost | duplicated epochs | wrong bits | p50 | p99 |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        if name == "crowd":
            measure_crowd(cycles or CROWD_SECONDS)
            continue
        for kind in ("SQLite", "PostgreSQL"):
            if name == "soak":
                jobs = cycles or SOAK_JOBS
                with tempfile.TemporaryDirectory() as folder, database_url(kind, Path(folder)) as url:
                    options = {} if kind == "SQLite" else {"GRADMILL_DATABASE_URL": url}
                    print(f"{kind}: {soak(jobs, **options)}", flush=True)
            else:
                measure(name, kind, cycles)


if __name__ == "__main__":
    main(sys.argv[1:])
