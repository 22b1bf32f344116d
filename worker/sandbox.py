"""Runs the parser of a client's file in a process of its own, with limits on its memory and its time.

Parsers are large, and some are written in C++: a file may make one crash, loop, or take all memory. Here that costs a
refusal. It is no wall against code that takes the process over, which has the rights of its user.
"""

import json
import multiprocessing
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import structlog

from worker.errors import (
    DataError,
    GradmillError,
    SpecError,
    TableSizeError,
    UnavailableError,
    UnsafeFileError,
    WeightsFileError,
)
from worker.runtime import limit_memory

log = structlog.get_logger()

Parse = Callable[..., Sequence[bytes]]
"A function of a module that takes the file's bytes first. It returns byte strings, and raises the errors of ERRORS."

# processes are forked from a server that has imported the parsers and has no threads: that takes 20 ms per process
CONTEXT = multiprocessing.get_context("forkserver")

ERRORS: dict[type[GradmillError], Callable[[dict[str, Any]], GradmillError]] = {
    DataError: lambda known: DataError(known["detail"], row=known["row"], column=known["column"]),
    TableSizeError: lambda known: TableSizeError(known["detail"]),
    SpecError: lambda known: SpecError(known["pointer"], known["detail"]),
    WeightsFileError: lambda known: WeightsFileError(known["detail"]),
}
"How each error of a parser is made again from its attributes, which the child sends as JSON."
NAMES = {kind.__name__: make for kind, make in ERRORS.items()}
CRASH = "internal"
MEMORY_BYTES = 2 * 2**30
"The usual limit: a table of 100 MiB with 45 million cells takes 1.2 GB."
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"Signals that a whole group of processes gets when the service stops. The parent ends this process by SIGKILL."


class Sandbox:
    """Runs parsers, a few at a time.

    preload: the modules that the server imports.
    memory_bytes: what a parser may allocate.
    cpu_seconds, seconds: how long it may compute, and how long it may take once it has begun.
    at_once, waiting: how many may run at the same time, and how many may wait for that.
    """

    def __init__(
        self,
        preload: Sequence[str],
        *,
        memory_bytes: int,
        cpu_seconds: int = 60,
        seconds: float = 120.0,
        at_once: int = 2,
        waiting: int = 40,
    ) -> None:
        self._preload, self._memory_bytes = list(preload), memory_bytes
        self._cpu_seconds, self._seconds = cpu_seconds, seconds
        self._room = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + waiting)

    def run(self, parse: Parse, content: bytes, *arguments: Any) -> list[bytes]:
        """Return what the parser returns for this content. Raises its error, or UnsafeFileError.

        Raises UnavailableError if too many others wait already: each holds a thread and its file.
        """
        if not self._places.acquire(blocking=False):
            raise UnavailableError("too many files are being read; send it again")
        try:
            with self._room:
                return self._run(parse, content, arguments)
        finally:
            self._places.release()

    def _run(self, parse: Parse, content: bytes, arguments: tuple[Any, ...]) -> list[bytes]:
        CONTEXT.set_forkserver_preload(self._preload)
        ours, theirs = CONTEXT.Pipe()
        limits = (self._memory_bytes, self._cpu_seconds)
        process = CONTEXT.Process(target=_main, args=(theirs, parse, arguments, limits), daemon=True)
        process.start()
        theirs.close()
        # when it is dead, reading from it ends
        timer = threading.Timer(self._seconds, _kill, [process])
        timer.start()
        try:
            with suppress(OSError):
                # it may have ended before it took everything
                ours.send_bytes(content)
            return self._answer(ours)
        finally:
            timer.cancel()
            process.kill()
            process.join()
            process.close()
            ours.close()

    def _answer(self, pipe: Connection) -> list[bytes]:
        try:
            said: dict[str, Any] = json.loads(pipe.recv_bytes(self._memory_bytes))
            if "error" not in said:
                return [pipe.recv_bytes(self._memory_bytes) for _ in range(said["parts"])]
        except (EOFError, OSError, ValueError) as error:
            raise self._unsafe() from error
        if said["error"] == CRASH:
            log.error("parser_crashed", traceback=said["detail"])
            raise self._unsafe()
        raise NAMES[said["error"]](said)

    def _unsafe(self) -> UnsafeFileError:
        return UnsafeFileError(
            f"the file can't be read safely: reading it crashes, or takes more than {self._cpu_seconds} s of "
            f"computing, {self._seconds:g} s in all, or {self._memory_bytes} bytes of memory"
        )


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    # it may just have ended and been closed
    with suppress(ValueError):
        process.kill()


def _main(pipe: Connection, parse: Parse, arguments: tuple[Any, ...], limits: tuple[int, int]) -> None:
    """Read the content from the pipe, parse it within the limits, and send the answer."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    memory_bytes, cpu_seconds = limits
    content = pipe.recv_bytes()
    limit_memory(memory_bytes)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        parts = parse(content, *arguments)
    except tuple(ERRORS) as error:
        _send(pipe, {"error": type(error).__name__, "detail": str(error)} | vars(error))
        return
    except Exception:  # noqa: BLE001 - whatever a parser raises is sent to the parent, whose log has it
        _send(pipe, {"error": CRASH, "detail": traceback.format_exc()})
        return
    _send(pipe, {"parts": len(parts)})
    for part in parts:
        pipe.send_bytes(part)


def _send(pipe: Connection, known: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(known).encode())
