"""Runs an API process: `python -m service.edge.server`. Its settings are the environment's.

uvicorn is the server. granian's ASGI mode was no quicker here, and has no deadlines for a head or a body.
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import resource
import signal
import sys
import time
from types import FrameType

import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from service.app import create_app
from service.edge.application import Edge
from service.edge.connection import Connection
from service.edge.crowd import Crowd
from service.listening import BACKLOG, LISTENING, listen
from service.settings import ServiceSettings
from service.starting import check_exposure, check_key, end_with_parent, exiting_in_words
from worker.runtime import configure_log
from worker.settings import read_settings

log = structlog.get_logger()

COLLECTED_AT = (50_000, 20, 100)
"""How many new objects Python's garbage collector waits for. All threads wait while it runs, and parsed JSON has many
objects but no garbage: with Python's own 700, parsing 500,000 rows took twice as long, and stopped others for 0.8 s
instead of 0.3 s."""
SWITCH_SECONDS = 0.001
"How long a thread may compute while others want to. The loop may have to wait for each of them; Python's own is 5 ms."
IDLE_SECONDS = 30
START_SECONDS = 30
"Within this time one of several processes must have started, and answer its parent."
SAME_STOP_SECONDS = 1.0
"A second signal within this time is the same wish to stop."
STOP_SECONDS = 5
"How long requests that are under way have when the process stops. Streams end at once."
OTHER_FILES = 256
"Files and sockets that a process opens besides its clients' connections."


def make_edge() -> Edge:
    """Return the application of this process, and set the limits of its connections."""
    settings = read_settings(ServiceSettings)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        # else the processes of a parent that was killed would serve on, and keep the port
        end_with_parent(parent.pid)
    configure_log(settings.log_level)
    # it has a line for each request that is not HTTP
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    edge = Edge(create_app(settings))
    _stop_in_order(edge)
    limit = max(1, _open_files(settings.connections_limit + OTHER_FILES) - OTHER_FILES)
    # behind a proxy all connections have one address
    each = limit if settings.proxies else settings.address_connections_limit
    Connection.limit_all(Crowd(limit, each), settings.body_bytes_limit)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*COLLECTED_AT)
    log.info("api_listens", host=settings.host, port=settings.port)
    return edge


def _open_files(wanted: int) -> int:
    """Allow this process this many open files, or as many as the system permits, and return how many it may have."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if now != resource.RLIM_INFINITY and now < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return allowed


def _stop_in_order(edge: Edge) -> None:
    """Make a signal end the streams before uvicorn waits for what is under way, and a second one end the process."""
    asked: float | None = None
    loop = asyncio.get_running_loop()

    def take_over(number: int) -> None:
        usual = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal asked
            if asked is not None:
                # Ctrl-C and systemd signal the parent and this process, and the parent then signals this one again
                if time.monotonic() - asked > SAME_STOP_SECONDS:
                    os._exit(1)
                return
            asked = time.monotonic()
            # not here: this thread may hold a lock that is needed for it
            loop.call_soon_threadsafe(edge.close)
            if callable(usual):
                usual(number, frame)

        signal.signal(number, stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        take_over(number)


def configuration(settings: ServiceSettings) -> uvicorn.Config:
    return uvicorn.Config(
        "service.edge.server:make_edge",
        factory=True,
        http=Connection,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=settings.api_processes,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )


def main() -> None:
    """Serve until asked to stop. SIGHUP: serve with a new process, on the same socket, so that nobody is refused."""
    with exiting_in_words():
        settings = read_settings(ServiceSettings)
        check_key(settings)
        check_exposure(settings)
        listening = listen(settings)
    configure_log(settings.log_level)
    if settings.api_processes > 1:
        # its parent takes SIGHUP in the same sense
        Multiprocess(configuration(settings), [listening]).run()
        return
    server = uvicorn.Server(configuration(settings))
    restarts = False

    def restart(_number: int, _frame: FrameType | None) -> None:
        nonlocal restarts
        if not server.should_exit:
            restarts = True
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGHUP, restart)
    # uvicorn raises the signal that stopped it once more: the stop is over then
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # uvicorn closes what it is given
    server.run([listening.dup()])
    logging.shutdown()
    if restarts:
        # what is ignored stays so in the new program, and what is not would end it before it is ready
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.set_inheritable(listening.fileno(), True)
        os.execve(sys.executable, own_command(), os.environ | {LISTENING: str(listening.fileno())})  # noqa: S606 - ours
    # a thread that still waits for the database must not hold up the end
    os._exit(0)


def own_command() -> list[str]:
    return [sys.executable, "-m", "service.edge.server"]


if __name__ == "__main__":
    main()
