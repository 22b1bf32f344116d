"""gunicorn's configuration and application: `python -m gunicorn -c python:service.wsgi service.wsgi:make()`."""

import signal
from typing import Any

from flask import Flask

from service.app import create_app
from service.context import EXTENSION
from service.settings import ServiceSettings
from worker.runtime import configure_log

_settings = ServiceSettings()

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "service.threads.Worker"
workers = _settings.api_processes
threads = _settings.api_threads
keepalive = 30
graceful_timeout = 5
timeout = 60
# a control socket would be one more way in, and nothing here uses it
control_socket_disable = True
# heartbeat files of the processes: in memory
worker_tmp_dir = None


def make() -> Flask:
    """The application of one API process."""
    configure_log(_settings.log_level)
    return create_app(_settings)


def post_worker_init(worker: Any) -> None:
    """End the streams when the process is told to stop; gunicorn would wait its whole grace for them."""
    live = worker.wsgi.extensions[EXTENSION].live
    stop = signal.getsignal(signal.SIGTERM)

    def end_streams(number: int, frame: Any) -> None:
        live.close()
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, end_streams)
