"""Celery's thread pool, whose worker takes the next message as soon as a thread is free."""

import os
from contextlib import suppress
from typing import Any

from celery.concurrency import thread


class TaskPool(thread.TaskPool):
    """Wakes the worker's event loop when a thread becomes free.

    Celery's own pool checks only once a second whether it may take the next message, so a queue of short jobs would
    crawl.
    """

    def register_with_event_loop(self, loop: Any) -> None:
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        loop.add_reader(self._woken, self._drain)

    def on_apply(self, *arguments: Any, **options: Any) -> Any:
        result = super().on_apply(*arguments, **options)
        result.f.add_done_callback(lambda _: self._ring())
        return result

    def _ring(self) -> None:
        # a full pipe wakes the loop just as well
        with suppress(BlockingIOError):
            os.write(self._wake, b".")

    def _drain(self) -> None:
        os.read(self._woken, 4096)
