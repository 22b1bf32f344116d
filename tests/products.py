"""A whole product as a subprocess, and a client for it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from service.hosts import in_brackets

FINAL = ("succeeded", "failed", "cancelled")


class Product:
    """`gradmill up` on a folder and a port. `login_link` works once; `said` is what it printed until it was up."""

    def __init__(self, folder: Path, port: int, **environment: str) -> None:
        self.folder, self.port = folder, port
        host = environment.get("GRADMILL_HOST", "127.0.0.1")
        self.url = f"http://{in_brackets(host)}:{port}"
        self.said: list[str] = []
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADMILL_")}
        self._environment |= {"GRADMILL_DATA_DIR": str(folder), "GRADMILL_PORT": str(port)} | environment

    def start(self) -> None:
        """Start it and wait until it says that it is up."""
        command = [str(Path(sys.executable).parent / "gradmill"), "up"]
        self.process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.said.clear()
        for line in self.process.stdout:
            self.said.append(line)
            if "/ui/login?token=" in line:
                self.login_link = line.strip()
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError("".join(self.said))
        # read on, so that the pipe never fills
        self._reader = threading.Thread(target=self.process.stdout.read)
        self._reader.start()
        self.key = (self.folder / "api_key").read_text().strip()
        self.client = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30)

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Send the signal and wait for the end; how many seconds it took."""
        began = time.monotonic()
        self.client.close()
        self.process.send_signal(number)
        self.wait_for_end()
        return time.monotonic() - began

    def wait_for_end(self) -> None:
        self.process.wait(timeout=30)
        self._reader.join(timeout=5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return self.client.post(path, json=json, **options)

    def wait(self, job_id: str, *statuses: str, timeout: float = 60) -> dict[str, Any]:
        """The job, once it has one of these statuses (any final one by default)."""
        deadline = time.monotonic() + timeout
        while True:
            job: dict[str, Any] = self.get(f"/v1/jobs/{job_id}").raise_for_status().json()
            if job["status"] in (statuses or FINAL):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Pids of processes that have this product's folder in their environment."""
        mark = f"GRADMILL_DATA_DIR={self.folder}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def training_processes(self) -> list[int]:
        """Pids of those that a worker's fork server has made."""
        return [pid for pid in self.processes() if is_forked(pid) and is_forked(parent_of(pid))]

    def worker_processes(self) -> list[int]:
        """Pids of all that belongs to the worker: its parent, the fork server, the training processes."""
        parents = {pid for pid in self.processes() if b"worker.tasks" in command_line(pid)}
        return [pid for pid in self.processes() if session_of(pid) in parents]


def is_forked(pid: int) -> bool:
    return b"multiprocessing.forkserver" in command_line(pid)


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def parent_of(pid: int) -> int:
    return _stat(pid)[1]


def session_of(pid: int) -> int:
    return _stat(pid)[3]


def _stat(pid: int) -> list[int]:
    """Nothing, parent, group and session of a process; zeros if it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return [0, 0, 0, 0]
    return [0, *map(int, words[1:4])]


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", seconds: float = 10) -> None:
    """Wait until something listens there. Fails if the process that is to do so has ended."""
    until = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < until, f"{process.args!r} does not listen"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start_product(folder: Path, port: int, **environment: str) -> Iterator[Product]:
    product = Product(folder, port, **environment)
    product.start()
    try:
        yield product
    finally:
        if product.process.poll() is None:
            product.stop()
