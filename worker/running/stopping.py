"""Why a run should stop, asked after every step."""

import math
import threading
from typing import Literal

from worker.runtime import uptime

Reason = Literal["shutdown", "cancelling", "pausing", "lease_lost", "timed_out", "checkpoint"]

# a checkpoint that took t is not followed by another within 40 t: they stay under 3 % of the time on any disk
CHECKPOINT_SHARE = 40


class Progress:
    """Signs that the process moves, for whoever watches over it. steps: only ever rises."""

    def __init__(self) -> None:
        self.steps = 0


class Stopping:
    """The one place that knows whether to go on. The heartbeat and the recorder tell it what they learned.

    It fences the run itself: two thirds of a lease without a renewal, and the run stops before anyone else may claim
    the job, even if the thread that should have renewed it hangs.
    """

    def __init__(
        self,
        shutdown: threading.Event,
        progress: Progress,
        *,
        max_seconds: float,
        checkpoint_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._shutdown, self._progress = shutdown, progress
        self._deadline = uptime() + max_seconds
        self._checkpoint_seconds, self._lease_seconds = checkpoint_seconds, lease_seconds
        self._asked: Reason | None = None
        self.renewed(uptime())
        self.checkpoint_taken(0)

    def renewed(self, moment: float) -> None:
        """The lease was renewed, no earlier than at this moment of `uptime`."""
        self.renewed_at = moment
        self._fence = moment + self._lease_seconds * 2 / 3

    def checkpoint_taken(self, seconds: float) -> None:
        """A checkpoint was written, which took so long."""
        self._checkpoint_due = uptime() + max(self._checkpoint_seconds, CHECKPOINT_SHARE * seconds)

    def tell_status(self, status: str) -> None:
        """The job's status in the record, as a write or a look just found it."""
        if status in ("cancelling", "pausing"):
            self._asked = "cancelling" if status == "cancelling" else "pausing"

    def tell_lease_lost(self) -> None:
        """A look found that another has the job, or that it was ended."""
        self._fence = -math.inf

    @property
    def reason(self) -> Reason | None:
        """Why to stop now, the gravest first; None to go on."""
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
        self._progress.steps += 1
        return self.reason is not None
