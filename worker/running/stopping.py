"""Whether a run should stop, and why; asked after every step."""

import math
import threading
from typing import Literal

from worker.records.states import Status
from worker.runtime import uptime
from worker.settings import Lease

Reason = Literal["shutdown", "cancelling", "pausing", "lease_lost", "timed_out", "checkpoint"]

# a checkpoint that took t is not followed by another within 40 t: they stay under 3 % of the time on any disk
CHECKPOINT_SHARE = 40


class Progress:
    """A sign that a training process moves, for the worker that watches it. steps: only ever rises."""

    def __init__(self) -> None:
        self.steps = 0


class Stopping:
    """The one place that knows whether a run goes on. The heartbeat and the recorder report to it what they learn.

    It fences the run: a lease that was not renewed in time stops the run before another worker may claim the row, even
    if the thread that should have renewed it hangs.
    """

    def __init__(self, shutdown: threading.Event, progress: Progress, lease: Lease) -> None:
        """shutdown: set when the process is to end."""
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
        """Report that the lease was renewed, no earlier than at this moment of `uptime`."""
        self.renewed_at = moment
        self._fence = moment + self._lease.fence_seconds

    def checkpoint_taken(self, seconds: float) -> None:
        """Report a checkpoint. seconds: how long it took to write."""
        self._checkpoint_due = uptime() + max(self._checkpoint_seconds, CHECKPOINT_SHARE * seconds)

    def status_is(self, status: Status) -> None:
        """Report the row's status, as a write or a look has just found it."""
        if status in ("cancelling", "pausing"):
            self._asked = "cancelling" if status == "cancelling" else "pausing"

    def lease_was_lost(self) -> None:
        """Report that another attempt has the row, or that it was ended."""
        self._fence = -math.inf

    @property
    def reason(self) -> Reason | None:
        """Why the run should stop now, the gravest reason first; None if it should go on."""
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
