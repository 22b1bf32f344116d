"""Starts a worker's training processes, replaces them when they die, and kills them when they hang."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import NamedTuple

import psutil
import structlog

from worker.processes.entry import PULSE_SECONDS, main

log = structlog.get_logger()

# processes are forked from a server that has imported everything and has no threads. That takes 20 ms per process, and
# memory is shared. A plain fork of a process with threads may deadlock
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["worker.processes.child"])


class Death(NamedTuple):
    """The death of a process before it was ready, or during a job. how: such as `signal 9 (SIGKILL), at 120 MiB`."""

    pid: int
    how: str


class TrainingProcess:
    """One process and the pipe to it. Only one thread at a time may call `run`.

    silence_seconds: a process that runs a job and shows no sign of life for this long is killed.
    stall_seconds: a process that makes no step for this long, or is not ready this long after its start, is killed.
    """

    def __init__(self, owner: str, *, silence_seconds: float, stall_seconds: float) -> None:
        self._owner = owner
        self._silence_seconds, self._stall_seconds = silence_seconds, stall_seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._memory = 0
        self._starting = threading.Lock()

    @property
    def is_starting(self) -> bool:
        return self._starting.locked()

    def start(self) -> Death | None:
        """Start the process unless it runs, and wait until it is ready. Return its death if it dies before that."""
        with self._starting:
            if self._process is not None:
                return None
            self._pipe, other = CONTEXT.Pipe()
            process = CONTEXT.Process(target=main, args=(other, self._owner), daemon=True)
            process.start()
            self._process = process
            # now only the process holds the other end, so this end is closed when it dies
            other.close()
            return self._watch(self._stall_seconds)

    def run(self, job_id: str) -> Death | None:
        """Have it run what has waited longest, and wait until that is over. Return its death if it dies first.

        job_id: the job or prediction that the message was made for.
        """
        while True:
            if (death := self.start()) is not None:
                return death
            assert self._pipe is not None  # noqa: S101 - it has started
            try:
                self._pipe.send(job_id)
                break
            except OSError:
                # the process died while it was idle
                self._bury()
        return self._watch(self._silence_seconds)

    def _watch(self, silence_seconds: float) -> Death | None:
        """Wait until the process is ready for the next job. Return its death if it dies, or is killed, before that.

        Time is counted in polls of the pipe, so that the time a machine slept does not count as silence.
        """
        assert self._process is not None  # noqa: S101 - it has started
        assert self._pipe is not None  # noqa: S101
        pid = self._process.pid
        assert pid is not None  # noqa: S101
        silent = still = 0.0
        steps: int | None = None
        while True:
            try:
                if not self._pipe.poll(PULSE_SECONDS):
                    silent += PULSE_SECONDS
                elif (news := self._pipe.recv()) is None:
                    return None
                else:
                    silent, still = 0.0, still + PULSE_SECONDS if news == steps else 0.0
                    steps = news
                    with suppress(psutil.Error):
                        self._memory = psutil.Process(pid).memory_info().rss
            except (EOFError, OSError):
                return self._death(pid, self._bury())
            if silent > silence_seconds:
                return self._death(pid, self._kill(f"{silent:.0f} s without a sign of life"))
            if still > self._stall_seconds:
                return self._death(pid, self._kill(f"{still:.0f} s without a step"))

    def _death(self, pid: int, how: str) -> Death:
        return Death(pid, f"{how}, at {self._memory / 2**20:.0f} MiB")

    def _kill(self, why: str) -> str:
        log.error("process_hangs", why=why)
        assert self._process is not None  # noqa: S101 - it is watched
        self._process.kill()
        self._bury()
        return why

    def _bury(self) -> str:
        """Wait for the end of a process that is dead or about to be, and forget it. Return how it ended."""
        process, self._process = self._process, None
        assert process is not None  # noqa: S101 - it has started
        assert self._pipe is not None  # noqa: S101
        self._pipe.close()
        process.join(timeout=5)
        return ending(process.exitcode)

    def ask_to_end(self) -> None:
        """Ask the process to end, without waiting: its job takes a checkpoint at the next batch and is released."""
        process = self._process
        if process is not None and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)


class TrainingProcesses:
    """The training processes of a worker, one for each job that runs at the same time.

    on_death: called when one of them dies before it is ready, or during a job.
    received: how many times a message has asked for a job to be run.
    """

    def __init__(
        self, owner: str, on_death: Callable[[Death], None], *, silence_seconds: float, stall_seconds: float
    ) -> None:
        self._owner, self._on_death = owner, on_death
        self._silence_seconds, self._stall_seconds = silence_seconds, stall_seconds
        self._all: list[TrainingProcess] = []
        self._idle: SimpleQueue[TrainingProcess] = SimpleQueue()
        self._ending = False
        self.received = 0

    @property
    def is_starting(self) -> bool:
        """Whether a process has been started and is not ready for a job yet."""
        return any(process.is_starting for process in self._all)

    def start(self, count: int) -> None:
        """Start this many processes for the first jobs. Returns at once."""
        for process in [self._new() for _ in range(count)]:
            self._idle.put(process)
            threading.Thread(target=self._start, args=(process,), daemon=True).start()

    def _start(self, process: TrainingProcess) -> None:
        if (death := process.start()) is not None and not self._ending:
            self._on_death(death)

    def run(self, job_id: str) -> None:
        """Have a process run what has waited longest, and wait until that is over or the process is dead."""
        self.received += 1
        if self._ending:
            # what waits is for another worker, and is rung for again
            return
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._new()
        try:
            if (death := process.run(job_id)) is not None:
                self._on_death(death)
        finally:
            self._idle.put(process)

    def _new(self) -> TrainingProcess:
        process = TrainingProcess(self._owner, silence_seconds=self._silence_seconds, stall_seconds=self._stall_seconds)
        self._all.append(process)
        return process

    def ask_to_end(self) -> None:
        """Ask all of them to end. Does not wait: it is called from a signal's handler."""
        self._ending = True
        for process in self._all:
            process.ask_to_end()


def ending(exitcode: int | None) -> str:
    """Return `signal 9 (SIGKILL)`, or `exit code 1`."""
    if exitcode is not None and exitcode < 0:
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"exit code {exitcode}"
