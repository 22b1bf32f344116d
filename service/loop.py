"""The event loop of the edge, in which nothing may block. What would block leaves it, and is done by a thread."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_inside: ContextVar[bool] = ContextVar("inside the loop", default=False)


class LeaveLoop(BaseException):
    """Raised in the loop by what may block. A handler has done nothing by then that it can't do again."""


def leave_loop() -> None:
    """Call this before what may block or take long. Raises LeaveLoop in the loop, and does nothing in a thread."""
    if _inside.get():
        raise LeaveLoop


def within_loop(work: Callable[[], T]) -> T | None:
    """Return what `work` returns; None if it left the loop, so that a thread must do it."""
    token = _inside.set(True)
    try:
        return work()
    except LeaveLoop:
        return None
    finally:
        _inside.reset(token)
