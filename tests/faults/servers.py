"""Servers of the test's own, to restart and to kill: a Redis without a disk, a PostgreSQL with its own cluster."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

from service.up import broker
from tests.conftest import missing
from tests.products import free_port


class RedisServer:
    """A server on a TCP port of 127.0.0.1. It keeps nothing on disk: what it knew is gone when it ends."""

    def __init__(self) -> None:
        self.port = free_port()
        self.client = redis.Redis(port=self.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([broker.server_binary(), *options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                self.client.ping()
            except redis.ConnectionError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("the Redis server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.kill()


class PostgresServer:
    """A cluster in a folder. Under root it runs as the user `postgres`, since it refuses to run as root."""

    def __init__(self, folder: Path, **options: int) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or sorted(
            Path(path).parent for path in [shutil.which("pg_ctl")] if path
        )
        if not found:
            missing("PostgreSQL's server")
        self._bin = found[-1]
        self._data = folder / "cluster"
        self.port = free_port()
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._data.mkdir()
        if self._as:
            user = pwd.getpwnam("postgres")
            os.chown(self._data, user.pw_uid, user.pw_gid)
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync")
        settings = f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n"
        settings += "".join(f"{name}={value}\n" for name, value in options.items())
        self._run_shell(f"cat >> '{self._data}/postgresql.conf'", settings)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self._run("pg_ctl", "--wait", "--log", str(self._data / "log"), "start")

    def stop(self, mode: str) -> None:
        """mode: `fast` ends every transaction in order, `immediate` is a crash."""
        self._run("pg_ctl", "--mode", mode, "stop")

    def restart(self, mode: str) -> None:
        self.stop(mode)
        self.start()

    def terminate_connections(self) -> int:
        """End every connection, as an administrator or a failing proxy would. Return how many there were."""
        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            found = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
            assert found is not None
            return int(found[0])

    def _run(self, program: str, *options: str) -> None:
        command = [*self._as, str(self._bin / program), "-D", str(self._data), *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _run_shell(self, line: str, content: str) -> None:
        subprocess.run([*self._as, "sh", "-c", line], input=content, text=True, check=True, cwd="/")


@contextmanager
def postgresql_server(**options: int) -> Iterator[PostgresServer]:
    """options: settings of the server."""
    # not in pytest's folder, which it keeps to its own user
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder), **options)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
