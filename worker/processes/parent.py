"""The training processes of a worker, as the worker sees them: each made anew when it dies, ended when it hangs."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

import psutil
import structlog

from worker.processes.child import PULSE_SECONDS, main

log = structlog.get_logger()

Death = Callable[[int, str], None]

# forked from a server that has imported everything and runs no thread: 20 ms a process, and memory is shared. Plain
# forks of a process with threads may deadlock
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["worker.processes.child"])


class TrainingProcess:
    """One process and the pipe to it. `run` is for one thread at a time."""

    def __init__(self, owner: str, *, silence_seconds: float, stall_seconds: float) -> None:
        self._owner = owner
        self._silence_seconds, self._stall_seconds = silence_seconds, stall_seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._memory = 0
        self._starting = threading.Lock()

    def start(self) -> int:
        """Its pid; of the one that runs already, if one does."""
        with self._starting:
            if self._process is None:
                self._pipe, other = CONTEXT.Pipe()
                self._process = CONTEXT.Process(target=main, args=(other, self._owner), daemon=True)
                self._process.start()
                # theirs alone keeps the other end open now: we see the end of it when the process dies
                other.close()
        assert self._process.pid is not None  # noqa: S101 - it has started
        return self._process.pid

    def run(self, job_id: str) -> tuple[int, str] | None:
        """Have the job run, and wait. None when it is over; if the process died of it, its pid and how it ended."""
        while True:
            pid = self.start()
            assert self._pipe is not None  # noqa: S101 - it has started
            try:
                self._pipe.send(job_id)
                break
            except OSError:
                # it died while it had nothing to do
                self._buried()
        how = self._watch(self._pipe, pid)
        return None if how is None else (pid, f"{how or self._buried()}, at {self._memory / 2**20:.0f} MiB")

    def _watch(self, pipe: Connection, pid: int) -> str | None:
        """None when the job is over; else the process is dead, of what is said or, if nothing is, by itself.

        Time is counted by the looks that were made: a machine that slept has not been silent.
        """
        silent = still = 0.0
        steps: int | None = None
        while True:
            try:
                if not pipe.poll(PULSE_SECONDS):
                    silent += PULSE_SECONDS
                elif (news := pipe.recv()) is None:
                    return None
                else:
                    silent, still = 0.0, still + PULSE_SECONDS if news == steps else 0.0
                    steps = news
                    with suppress(psutil.Error):
                        self._memory = psutil.Process(pid).memory_info().rss
            except (EOFError, OSError):
                return ""
            if silent > self._silence_seconds:
                return self._killed(f"{silent:.0f} s without a sign of life")
            if still > self._stall_seconds:
                return self._killed(f"{still:.0f} s without a step")

    def _killed(self, why: str) -> str:
        log.error("process_hangs", why=why)
        assert self._process is not None  # noqa: S101 - it is watched
        self._process.kill()
        self._buried()
        return why

    def _buried(self) -> str:
        """Forget the process, which is dead or about to be; how it ended."""
        process, self._process = self._process, None
        assert process is not None  # noqa: S101 - it has started
        assert self._pipe is not None  # noqa: S101
        self._pipe.close()
        process.join(timeout=5)
        return ending(process.exitcode)

    def ask_to_end(self) -> None:
        """Does not wait: its job takes a checkpoint at the next batch and is released."""
        process = self._process
        if process is not None and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)


class TrainingProcesses:
    """As many as are needed at once. on_death: is told the pid of one that died with its job, and how it ended."""

    def __init__(self, owner: str, on_death: Death, *, silence_seconds: float, stall_seconds: float) -> None:
        self._owner, self._on_death = owner, on_death
        self._silence_seconds, self._stall_seconds = silence_seconds, stall_seconds
        self._all: list[TrainingProcess] = []
        self._idle: SimpleQueue[TrainingProcess] = SimpleQueue()
        self._ending = False

    def start(self, count: int) -> None:
        """Have so many ready for the first jobs. Returns at once."""
        for process in [self._new() for _ in range(count)]:
            self._idle.put(process)
            threading.Thread(target=process.start, daemon=True).start()

    def run(self, job_id: str) -> None:
        """Have a job run, and wait until it is over or its process is dead."""
        if self._ending:
            # the job waits for another worker
            return
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._new()
        try:
            if (death := process.run(job_id)) is not None:
                self._on_death(*death)
        finally:
            self._idle.put(process)

    def _new(self) -> TrainingProcess:
        process = TrainingProcess(self._owner, silence_seconds=self._silence_seconds, stall_seconds=self._stall_seconds)
        self._all.append(process)
        return process

    def ask_to_end(self) -> None:
        """All of them. Does not wait: it is called from a signal's handler."""
        self._ending = True
        for process in self._all:
            process.ask_to_end()


def ending(exitcode: int | None) -> str:
    """`signal 9 (SIGKILL)`, or `exit code 1`."""
    if exitcode is not None and exitcode < 0:
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"exit code {exitcode}"
