"""The share of the database's connections that pages and lists may use, so that all other requests find one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from service.problems import Problem

log = structlog.get_logger()

SHARE = 0.4
WAIT_SECONDS = 3.0
RETRY_SECONDS = 5


class Share:
    """Lets a few requests run at the same time, and a few more wait for their turn.

    size: how many may run. waiting: how many may wait, each for WAIT_SECONDS: a request that waits keeps a thread.
    """

    def __init__(self, size: int, *, waiting: int) -> None:
        self._running = threading.BoundedSemaphore(size)
        self._present = threading.BoundedSemaphore(size + waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and take it. Raises Problem, 503, if there is none."""
        if not self._present.acquire(blocking=False):
            raise _busy()
        try:
            if not self._running.acquire(timeout=WAIT_SECONDS):
                raise _busy()
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._present.release()


def share_of(connections: int, threads: int) -> Share:
    """Return the share of pages and lists in the connections and the threads of one process."""
    return Share(max(1, int(connections * SHARE)), waiting=max(1, threads // 8))


def _busy() -> Problem:
    log.warning("share_used_up")
    detail = "too many pages and lists are being read at the same time; submissions and predictions are still answered"
    return Problem(503, detail, code="busy", headers={"Retry-After": str(RETRY_SECONDS)})
