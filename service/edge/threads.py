"""Threads for what may block, and a bounded line before them."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from service.problems import Problem

T = TypeVar("T")

WAITING_LIMIT = 512
"So many may wait for a thread; the next are refused."


class Threads:
    """A pool of threads of one kind of work. Use it in the loop.

    waiting_limit: how many requests may wait for a thread; further ones are refused.
    """

    def __init__(self, size: int, name: str, *, waiting_limit: int = WAITING_LIMIT) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._limit = size + waiting_limit
        self._there = 0

    async def run(
        self,
        work: Callable[[], T],
        context: contextvars.Context | None = None,
        discard: Callable[[T], object] = lambda _: None,
        *,
        has_begun: bool = False,
    ) -> T:
        """Return what `work` returns, done by a thread. Raises Problem, 503, if too many wait already.

        context: in which it is done; None for a copy of the caller's.
        discard: called with the result, by the thread, if the caller was cancelled while the work was done. Work that
            has not begun by then is not done.
        has_begun: whether it continues an answer, which is never refused.
        """
        if not has_begun and self._there >= self._limit:
            raise Problem(503, "too many requests are waiting", code="busy", headers={"Retry-After": "5"})
        loop = asyncio.get_running_loop()
        self._there += 1
        done = self._pool.submit((context or contextvars.copy_context()).run, work)
        done.add_done_callback(lambda _: _call_soon(loop, self._leave))
        try:
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            if not done.cancelled():
                done.add_done_callback(lambda late: _discard(late, discard))
            raise

    def submit(self, work: Callable[[], object]) -> None:
        """Have this done, and wait for nothing."""
        self._pool.submit(work)

    def _leave(self) -> None:
        self._there -= 1


class LongAnswer:
    """The parts of one answer, each made by a thread when the one before is sent.

    context: in which they are made; None for a copy of the caller's.
    """

    def __init__(self, threads: Threads, context: contextvars.Context | None = None) -> None:
        self._threads, self._context = threads, context
        self._making = threading.Lock()

    async def advance(self, parts: Iterator[bytes]) -> bytes | None:
        """Return the next part; None after the last."""

        def work() -> bytes | None:
            with self._making:
                return next(parts, None)

        return await self._threads.run(work, self._context, has_begun=True)

    def close(self, close: Callable[[], object]) -> None:
        """Close what the parts are made of, once no thread makes one: after a client has gone, one may still do so."""

        def work() -> None:
            with self._making:
                close()

        if self._making.locked():
            self._threads.submit(work)
        else:
            work()


def _call_soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(work)


def _discard(done: Future[T], discard: Callable[[T], object]) -> None:
    if not done.cancelled() and done.exception() is None:
        discard(done.result())
