"""Why a run should stop, asked after every step."""

import ctypes
import threading
import time
from multiprocessing.sharedctypes import RawValue
from typing import Literal

Reason = Literal["shutdown", "cancelling", "pausing", "lease_lost", "timed_out", "checkpoint"]


class ShutdownFlag:
    """Raised by a worker's parent process, seen by its children: make it before the fork.

    Plain shared memory, read in 0.1 us where a multiprocessing.Event takes 1.5: it is asked after every step.
    """

    def __init__(self) -> None:
        self._raised = RawValue(ctypes.c_bool, False)

    def raise_(self) -> None:
        self._raised.value = True

    def lower(self) -> None:
        self._raised.value = False

    @property
    def is_raised(self) -> bool:
        return bool(self._raised.value)


class Stopping:
    """The one place that knows whether to go on. The heartbeat and the recorder tell it what they learned."""

    def __init__(self, shutdown: ShutdownFlag, *, max_seconds: float, checkpoint_seconds: float) -> None:
        self._shutdown = shutdown
        self._deadline = time.monotonic() + max_seconds
        self._checkpoint_seconds = checkpoint_seconds
        self._lock = threading.Lock()
        self._told: Reason | None = None
        self.checkpoint_taken()

    def checkpoint_taken(self) -> None:
        self._checkpoint_due = time.monotonic() + self._checkpoint_seconds

    @property
    def checkpoint_is_due(self) -> bool:
        return time.monotonic() >= self._checkpoint_due

    def tell_status(self, status: str) -> None:
        """The job's status in the record, as a write or a look just found it."""
        if status in ("cancelling", "pausing"):
            with self._lock:
                if self._told != "lease_lost":
                    self._told = "cancelling" if status == "cancelling" else "pausing"

    def tell_lease_lost(self) -> None:
        with self._lock:
            self._told = "lease_lost"

    @property
    def reason(self) -> Reason | None:
        """Why to stop now, the gravest first; None to go on."""
        if self._told is not None:
            return self._told
        if self._shutdown.is_raised:
            return "shutdown"
        now = time.monotonic()
        if now >= self._deadline:
            return "timed_out"
        return "checkpoint" if now >= self._checkpoint_due else None

    def __call__(self) -> bool:
        return self.reason is not None
