"""The supervisor of the one-machine mode: starts the broker, worker and API, keeps them running, and stops them."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
from pydantic import SecretStr

from service.hosts import in_brackets
from service.listening import listen
from service.settings import ServiceSettings
from service.starting import check_exposure
from service.up import broker
from service.up.children import Child
from service.up.folder import key_of, locked, socket_path, tighten
from service.up.preconditions import migrate, warn_of_few_connections
from worker.errors import StartError, UnavailableError
from worker.records.connections import of_worker
from worker.records.logins import new_login_token
from worker.records.sessions import Database
from worker.records.workers import forget, list_workers
from worker.secret_files import SECRETS, file_variable

READY_SECONDS = 60
STOP_SECONDS = 6.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Running:
    """A running installation.

    login_link: a link that opens the dashboard once.
    has_worker: whether its worker runs; False if it ended during its start.
    """

    settings: ServiceSettings
    url: str
    login_link: str
    has_worker: bool


class StopRequest:
    """Whether Ctrl-C or SIGTERM has asked this process to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked.set()

    def wait(self, seconds: float) -> bool:
        """Wait for at most this many seconds, and return whether the process was asked to stop."""
        return self._asked.wait(seconds)

    @property
    def asked(self) -> bool:
        return self._asked.is_set()


def run_up(
    settings: ServiceSettings, stop: StopRequest, say: Callable[[str], None], work: Callable[[Running], bool]
) -> None:
    """Start everything and call `work`. If it returns True, keep running until asked to stop. Raises StartError."""
    with locked(settings.data_dir):
        if (news := tighten(settings.data_dir)) is not None:
            say(news)
        listening = listen(settings)
        own_socket = None if settings.redis_url else socket_path(settings.data_dir)
        settings = _completed(settings, own_socket)
        check_exposure(settings)
        children: list[Child] = []
        try:
            running = _start(settings, children, stop, say, own_socket=own_socket, listening=listening)
            stays = running is not None and work(running)
            while stays and not stop.wait(LOOK_SECONDS):
                for child in children:
                    if (news := child.keep_running()) is not None:
                        say(news)
                        _forget(settings, child)
        finally:
            say("Stopping.")
            # whoever comes now is refused, and does not wait for an API that ends
            listening.close()
            _stop(children)


def _completed(settings: ServiceSettings, own_socket: Path | None) -> ServiceSettings:
    """Return the settings with the key and the broker that the one-machine mode provides."""
    folder = settings.data_dir
    key = settings.api_key.get_secret_value() or key_of(folder)
    url = settings.redis_url or f"unix://{own_socket}"
    return settings.model_copy(update={"api_key": SecretStr(key), "redis_url": url})


def _start(
    settings: ServiceSettings,
    children: list[Child],
    stop: StopRequest,
    say: Callable[[str], None],
    *,
    own_socket: Path | None,
    listening: socket.socket,
) -> Running | None:
    """Start the children one after the other. Return None if asked to stop meanwhile.

    listening: the API's, which stays open while the API is started again.
    children: each child is added when it starts, so that the caller can stop them if this raises StartError.
    """
    logs, environment = settings.data_dir / "logs", _environment(settings)

    def begin(
        name: str, command: list[str], *, is_needed: bool = True, inherited: socket.socket | None = None
    ) -> Child:
        child = Child(name, command, environment, logs, is_needed=is_needed, inherited=inherited)
        child.start()
        children.append(child)
        return child

    if own_socket is not None:
        broker.wait_until_gone(own_socket)
        server = begin("broker", broker.server_command(settings.data_dir / "broker", own_socket))
        _wait(lambda: broker.answers(own_socket), server, stop)
    database = Database(settings.database, pool_size=1)
    migrate(database.engine)
    warn_of_few_connections(database, settings.api_processes * settings.api_connections + of_worker(settings.workers))
    worker = begin("worker", worker_command(settings), is_needed=False)
    api = begin("api", api_command(), is_needed=False, inherited=listening)
    url = _url(settings)
    _wait(lambda: _readiness(url)["status"] != "unready", api, stop)
    if _readiness(url).get("broker") == "away":
        say("The broker does not answer: jobs are accepted, and wait until it does.")
    else:
        _wait(lambda: _has_worker(database, worker) or not worker.is_running, worker, stop)
    if stop.asked:
        return None
    token = database.write(new_login_token)
    database.close()
    link = f"{settings.public_url or url}/ui/login?token={token}"
    return Running(settings, url, link, has_worker=worker.is_running)


def _stop(children: list[Child]) -> None:
    """Stop the API and the worker together, then the broker, which the worker needs until it has ended."""
    deadline = time.monotonic() + STOP_SECONDS
    first = [child for child in children if child.name != "broker"]
    for group in (first, [child for child in children if child.name == "broker"]):
        for child in group:
            child.ask_to_stop()
        for child in group:
            child.wait_for_end(deadline)


def api_command() -> list[str]:
    return [sys.executable, "-m", "service.edge.server"]


def worker_command(settings: ServiceSettings) -> list[str]:
    options = ["--concurrency", str(settings.workers), "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "-A", "worker.tasks", "worker", *options]


def _environment(settings: ServiceSettings) -> Mapping[str, str]:
    """Return the environment from which the children read these settings."""
    own = {
        "GRADMILL_API_KEY": settings.api_key.get_secret_value(),
        "GRADMILL_CORS_ORIGINS": "[" + ",".join(f'"{origin}"' for origin in settings.cors_origins) + "]",
    }
    for name in ("data_dir", "database_url", "redis_url", "storage_url", "host", "port", "workers", "lease_seconds"):
        own[f"GRADMILL_{name.upper()}"] = str(getattr(settings, name))
    # the secrets that a file holds are in `own` by now
    files = {file_variable(name) for name in SECRETS}
    given = {name: value for name, value in os.environ.items() if name not in files}
    return {"OPENBLAS_NUM_THREADS": "1"} | given | own


def _wait(is_there: Callable[[], bool], child: Child, stop: StopRequest) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not stop.asked and not is_there():
        child.check()
        if time.monotonic() > deadline:
            raise StartError(f"The {child.name} was not ready within {READY_SECONDS} s:\n{child.tail()}")
        stop.wait(0.05)


def _readiness(url: str) -> dict[str, str]:
    """Return the API's own words; status is ready, degraded or unready."""
    try:
        answer = httpx2.get(f"{url}/readyz", timeout=2)
        # 503 has the API's words too; anything else is a refusal
        return dict(answer.json()) if answer.status_code in (200, 503) else {"status": "unready"}
    except httpx2.HTTPError:
        return {"status": "unready"}


def _has_worker(database: Database, child: Child) -> bool:
    process = child.process
    with database.reading() as session:
        return process is not None and any(row.pid == process.pid for row, _ in list_workers(session))


def _forget(settings: ServiceSettings, child: Child) -> None:
    """Take a worker that has ended out of the record, so that it does not count as alive for another lease."""
    assert child.process is not None  # noqa: S101 - it has ended
    pid, database = child.process.pid, Database(settings.database, pool_size=1)
    try:
        database.write(lambda session: forget(session, hostname=socket.gethostname(), pid=pid))
    except UnavailableError:
        # its silence will say so
        pass
    finally:
        database.close()


def _url(settings: ServiceSettings) -> str:
    """Return where this machine reaches the API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://{in_brackets(host)}:{settings.port}"
