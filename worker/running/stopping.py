"""Decides whether a run should stop, and why. The run asks after every step."""

import math
import threading
from typing import Literal

from worker.records.states import Status
from worker.runtime import uptime
from worker.settings import Lease

Reason = Literal["shutdown", "cancelling", "pausing", "lease_lost", "timed_out", "checkpoint"]

# after a checkpoint that took t, the next one comes at least 40 t later: checkpoints take less than 3 % of the time
CHECKPOINT_SHARE = 40


class Progress:
    """The progress of a training process, for the worker that watches it. steps: a count that only rises."""

    def __init__(self) -> None:
        self.steps = 0


class Stopping:
    """Decides whether a run should stop. The heartbeat and the recorder report to it what they find out.

    It fences the run: if the lease is not renewed in time, the run stops before another worker may claim the row, even
    if the thread that should renew the lease hangs.
    """

    def __init__(self, shutdown: threading.Event, progress: Progress, lease: Lease) -> None:
        """Start without limits. shutdown: an event that is set when the process should end."""
        self._shutdown, self._progress, self._lease = shutdown, progress, lease
        self._began = uptime()
        self._deadline = self._checkpoint_due = math.inf
        self._checkpoint_seconds = math.inf
        self._asked: Reason | None = None
        self.renewed(self._began)

    def limit(self, *, max_seconds: float, checkpoint_seconds: float) -> None:
        """Limit the run to max_seconds from its start, with at least checkpoint_seconds between checkpoints."""
        self._deadline = self._began + max_seconds
        self._checkpoint_seconds = checkpoint_seconds
        self.checkpoint_taken(0)

    def renewed(self, moment: float) -> None:
        """Report that the lease was renewed at this moment of `uptime` or later."""
        self.renewed_at = moment
        self._fence = moment + self._lease.fence_seconds

    def checkpoint_taken(self, seconds: float) -> None:
        """Report a checkpoint. seconds: how long it took to write."""
        self._checkpoint_due = uptime() + max(self._checkpoint_seconds, CHECKPOINT_SHARE * seconds)

    def status_is(self, status: Status) -> None:
        """Report the row's status, as it has just been read or written."""
        if status in ("cancelling", "pausing"):
            self._asked = "cancelling" if status == "cancelling" else "pausing"

    def lease_was_lost(self) -> None:
        """Report that another attempt holds the row, or that the row has ended."""
        self._fence = -math.inf

    @property
    def reason(self) -> Reason | None:
        """The most serious reason for the run to stop now; None if it should go on."""
        now = uptime()
        if now >= self._fence:
            return "lease_lost"
        if self._asked is not None:
            return self._asked
        if self._shutdown.is_set():
            return "shutdown"
        if now >= self._deadline:
            return "timed_out"
        return "checkpoint" if now >= self._checkpoint_due else None

    def __call__(self) -> bool:
        """Count a step, and return whether to stop."""
        self._progress.steps += 1
        return self.reason is not None
