"""gunicorn's configuration, worker and application: `python -m gunicorn -c python:service.wsgi service.wsgi:make()`."""

import gc
import select
import signal
from typing import Any

from flask import Flask
from gunicorn.workers.gthread import ThreadWorker

from service.app import create_app
from service.context import EXTENSION
from service.hosts import in_brackets
from service.settings import ServiceSettings
from service.starting import check_exposure, check_key, exiting_in_words
from worker.runtime import configure_log
from worker.settings import read_settings

LINGER_MILLISECONDS = 10
COLLECTED_AT = (50_000, 20, 100)
"""How many new objects Python's garbage collector waits for. All threads wait while it runs, and parsed JSON has many
objects but no garbage: with Python's own 700, parsing 500,000 rows took twice as long, and stopped others for 0.8 s
instead of 0.3 s."""

with exiting_in_words():
    _settings = read_settings(ServiceSettings)
    check_exposure(_settings)

bind = f"{in_brackets(_settings.host)}:{_settings.port}"
worker_class = "service.wsgi.LingeringWorker"
workers = _settings.api_processes
threads = _settings.api_threads
keepalive = 30
graceful_timeout = 5
timeout = 60
# what a proxy says is believed as the settings say, in the app: neither the scheme nor SCRIPT_NAME from a header
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# nothing here uses a control socket, which would be one more way to attack
control_socket_disable = True
# keep the heartbeat files of the processes in memory
worker_tmp_dir = None


def on_starting(server: Any) -> None:
    """Check the addresses once more: a flag of gunicorn may have added others."""
    hosts = [address[0] for address in server.cfg.address if isinstance(address, tuple)]
    with exiting_in_words():
        check_key(_settings)
        check_exposure(_settings, hosts)


def make() -> Flask:
    """Return the application of one API process."""
    configure_log(_settings.log_level)
    app = create_app(_settings)
    gc.freeze()
    gc.set_threshold(*COLLECTED_AT)
    return app


def post_worker_init(worker: Any) -> None:
    """Make SIGTERM end the streams first. Otherwise gunicorn waits its whole grace period for them."""
    live = worker.wsgi.extensions[EXTENSION].live
    stop = signal.getsignal(signal.SIGTERM)

    def end_streams(number: int, frame: Any) -> None:
        live.close()
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, end_streams)


class LingeringWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, except that after an answer the thread waits a moment for its client's next request.

    gunicorn's own worker returns the connection to its main thread after each request, and wakes another thread for the
    next one. These two changes of thread take as long as a small request itself.
    """

    def handle(self, conn: Any) -> Any:
        again = super().handle(conn)
        while again is True and self.alive and is_readable_soon(conn.sock):
            again = super().handle(conn)
        return again


def is_readable_soon(sock: Any) -> bool:
    """Return whether more bytes, or the end of the connection, arrive within LINGER_MILLISECONDS."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(LINGER_MILLISECONDS))
