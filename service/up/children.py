"""The supervisor's child processes. Each has its own session, ends with the supervisor, and restarts if it fails."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.errors import StartError

RESTARTS_LIMIT = 5
RESTARTS_SECONDS = 60
LOG_LINES_SHOWN = 15
PR_SET_PDEATHSIG = 1


class Child:
    """One child process. Its output goes to a file in the data folder's `logs`."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self._command, self._environment = command, environment
        self._log = logs / f"{name}.log"
        self._started: list[float] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._started.append(time.monotonic())
        with self._log.open("ab" if len(self._started) > 1 else "wb") as log:
            self.process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal reaches only the supervisor, which stops the others in order
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the supervisor has no threads when it starts a child
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def keep_running(self) -> None:
        """Start the process again if it has ended. Raises StartError if it ends again and again."""
        if self.is_running:
            return
        recent = [moment for moment in self._started if time.monotonic() - moment < RESTARTS_SECONDS]
        if len(recent) >= RESTARTS_LIMIT:
            raise StartError(
                f"The {self.name} failed {len(recent)} times within a minute. The end of its log:\n{self.tail()}"
            )
        time.sleep(min(2.0, 0.2 * len(recent)))
        self.start()

    def check(self) -> None:
        """Raise StartError, with the end of its log, if the process has ended during its start."""
        if not self.is_running:
            raise StartError(f"The {self.name} did not start. The end of its log:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])

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


def _die_with_parent() -> None:
    """Make the kernel send SIGTERM to this process when the supervisor ends in any way. Linux only.

    On other systems the process keeps running after a supervisor that was killed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
