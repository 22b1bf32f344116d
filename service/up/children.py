"""The supervisor's child processes. Each has its own session, ends with the supervisor, and restarts if it fails."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from service.listening import LISTENING
from service.starting import end_with_parent
from service.up.logs import rotate, tail
from worker.errors import StartError

RESTARTS_LIMIT = 5
RESTARTS_SECONDS = 60
BACK_OFF_SECONDS = 0.25
BACK_OFF_SECONDS_MOST = 30.0
DOUBLINGS = 10
LOG_LINES_SHOWN = 15


class Child:
    """One child process. Its output is appended to a file in the data folder's `logs`, which is rotated by size.

    is_needed: the product can't run without it: if it ends again and again, everything stops. One that is not needed is
    started again after 0.25, 0.5, 1 ... 30 s, for as long as it takes.
    inherited: a socket on which it listens, and which stays open while it is started again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        logs: Path,
        *,
        is_needed: bool = True,
        inherited: socket.socket | None = None,
    ) -> None:
        self.name, self.is_needed = name, is_needed
        self._command, self._environment, self._inherited = command, dict(environment), inherited
        if inherited is not None:
            self._environment[LISTENING] = str(inherited.fileno())
        self._log = logs / f"{name}.log"
        self._log_begins = 0
        self._started: list[float] = []
        self._falls = 0
        self._rests_until: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        rotate(self._log)
        with self._log.open("ab") as log:
            if not self._started:
                self._log_begins = log.tell()
            self._started.append(time.monotonic())
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                pass_fds=[] if self._inherited is None else [self._inherited.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal reaches only the supervisor, which stops the others in order
                start_new_session=True,
                preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - the supervisor has no threads when it starts a child
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def keep_running(self) -> str | None:
        """Start the process again if it has ended. Return a sentence about it when it has just ended and is not needed.

        Also rotates its log. Raises StartError if a needed one ends again and again.
        """
        rotate(self._log)
        if self.is_running:
            return None
        if not self.is_needed:
            return self._back_off()
        recent = [moment for moment in self._started if time.monotonic() - moment < RESTARTS_SECONDS]
        if len(recent) >= RESTARTS_LIMIT:
            raise StartError(
                f"The {self.name} failed {len(recent)} times within a minute. The end of its log:\n{self.tail()}"
            )
        time.sleep(min(2.0, 0.2 * len(recent)))
        self.start()
        return None

    def _back_off(self) -> str | None:
        """Start the process when it has rested. Does not wait: the other processes are looked after meanwhile."""
        now = time.monotonic()
        if self._rests_until is None:
            if now - self._started[-1] > RESTARTS_SECONDS:
                self._falls = 0
            seconds = min(BACK_OFF_SECONDS * 2**self._falls, BACK_OFF_SECONDS_MOST)
            # no further: after a night of falls the power would be too large for a number
            self._falls = min(self._falls + 1, DOUBLINGS)
            self._rests_until = now + seconds
            return f"The {self.name} ended, and starts again in {seconds:g} s. Its log is {self._log}."
        if now >= self._rests_until:
            self._rests_until = None
            self.start()
        return None

    def check(self) -> None:
        """Raise StartError with the end of its log if a needed process has ended while it should have started."""
        if self.is_needed and not self.is_running:
            raise StartError(f"The {self.name} did not start. The end of its log:\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of its log since its first start by this supervisor."""
        return tail(self._log, after=self._log_begins, lines=LOG_LINES_SHOWN)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.is_running:
            self.process.terminate()

    def wait_for_end(self, deadline: float) -> None:
        """Wait until the deadline, then kill the process's whole session."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._signal_session(signal.SIGKILL)
            self.process.wait()
        # a process that was killed may leave children of its own
        self._signal_session(signal.SIGKILL)

    def _signal_session(self, number: signal.Signals) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return
