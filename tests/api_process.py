"""One API process alone, on a database of its own: no broker and no worker, so its jobs stay in the queue."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from migrations.schema import upgrade
from tests.conftest import SPEC
from tests.products import free_port
from worker.records.sessions import Database

KEY = "k" * 40
SECONDS = 30.0


class ApiProcess:
    """It is started by `start`, as often as wanted. log: where its output goes."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "api.log"
        self.database_url = environment.get("GRADMILL_DATABASE_URL", f"sqlite:///{folder / 'gradmill.db'}")
        known = {name: value for name, value in os.environ.items() if not name.startswith("GRADMILL_")}
        self._environment = known | {
            "GRADMILL_DATA_DIR": str(folder),
            "GRADMILL_DATABASE_URL": self.database_url,
            "GRADMILL_REDIS_URL": "redis://127.0.0.1:9/0",
            "GRADMILL_API_KEY": KEY,
            "GRADMILL_PORT": str(self.port),
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._environment |= environment
        database = Database(self.database_url)
        upgrade(database.engine)
        database.close()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.edge.server"], env=self._environment, stdout=log, stderr=log
            )
        self.client = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=SECONDS)
        until = time.monotonic() + SECONDS
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def answers(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx2.HTTPError:
            return False

    def submit(self) -> str:
        """Submit a job, which stays queued, and return its id."""
        job_id: str = self.client.post("/v1/jobs", json=SPEC).raise_for_status().json()["id"]
        return job_id

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def api_process(folder: Path, **environment: str) -> Iterator[ApiProcess]:
    """Run one until the end of the block."""
    api = ApiProcess(folder, **environment)
    api.start()
    try:
        yield api
    finally:
        api.client.close()
        if api.process.poll() is None:
            api.process.kill()
            api.process.wait()


def watch_request(job_id: str) -> bytes:
    """Return a request for a job's events, as bytes."""
    return (
        f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        "Accept: application/x-ndjson\r\n\r\n"
    ).encode()
