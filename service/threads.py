"""gunicorn's threaded worker, but for one thing: a thread that has answered stays a moment for the next request."""

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MILLISECONDS = 10


class Worker(ThreadWorker):  # type: ignore[misc]
    """Of a client that asks again and again.

    gunicorn's own gives the connection back to its main thread after each request, which then wakes a thread for the
    next one: two changes of thread, which cost as much as the request itself.
    """

    def handle(self, conn: Any) -> Any:
        again = super().handle(conn)
        while again is True and self.alive and is_readable_soon(conn.sock):
            again = super().handle(conn)
        return again


def is_readable_soon(sock: Any) -> bool:
    """Whether more comes, or the client's end, within a moment."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(LINGER_MILLISECONDS))
