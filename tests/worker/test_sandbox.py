"""Parsers in a sandbox: their answers and errors come back, and what they may not do ends them and nothing else."""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from worker.errors import DataError, SpecError, TableSizeError, UnavailableError, UnsafeFileError, WeightsFileError
from worker.sandbox import ERRORS, Sandbox

MIB = 2**20


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox([__name__], memory_bytes=200 * MIB, cpu_seconds=1, seconds=5)


def reversed_twice(content: bytes, times: int) -> Sequence[bytes]:
    return [content[::-1]] * times


def test_what_a_parser_returns_comes_back(sandbox: Sandbox) -> None:
    """The content and the arguments arrive whole, and so does every part of the answer."""
    content = os.urandom(3 * MIB)
    assert sandbox.run(reversed_twice, content, 2) == [content[::-1]] * 2


RAISED = {
    "data": DataError("is bad", row=3, column="x"),
    "size": TableSizeError("has too many"),
    "spec": SpecError("/activations", "must be left out"),
    "file": WeightsFileError("is not a file"),
}


def raising(content: bytes) -> Sequence[bytes]:
    raise RAISED[content.decode()]


@pytest.mark.parametrize("name", RAISED)
def test_the_errors_of_parsers_come_back_as_they_were(sandbox: Sandbox, name: str) -> None:
    """An error has its type, its sentence and its place."""
    with pytest.raises(type(RAISED[name])) as raised:
        sandbox.run(raising, name.encode())
    assert type(raised.value) is type(RAISED[name])
    assert vars(raised.value) == vars(RAISED[name])
    assert str(raised.value) == str(RAISED[name])
    assert {type(error) for error in RAISED.values()} == ERRORS.keys()


def test_every_kind_of_the_errors_of_parsers_comes_back() -> None:
    """A new kind of DataError, for example, has its place among the errors that a child sends."""
    kinds = set(ERRORS)
    for kind in ERRORS:
        kinds |= set(kind.__subclasses__())
    assert kinds == ERRORS.keys()


def faulty(content: bytes) -> Sequence[bytes]:
    raise KeyError("ours")


def test_a_fault_of_a_parser_is_refused_and_its_traceback_is_logged(sandbox: Sandbox) -> None:
    """The client hears that the file can't be read, the operator where our code failed."""
    with capture_logs() as logs, pytest.raises(UnsafeFileError):
        sandbox.run(faulty, b"")
    assert "KeyError: 'ours'" in logs[0]["traceback"]


def terminating(content: bytes) -> Sequence[bytes]:
    os.kill(os.getpid(), signal.SIGTERM)
    return [b"went on"]


def test_a_signal_to_the_whole_group_ends_no_parser(sandbox: Sandbox) -> None:
    """When the service is asked to stop, a file that is being read is read to its end."""
    assert sandbox.run(terminating, b"") == [b"went on"]


def slow(content: bytes) -> Sequence[bytes]:
    time.sleep(1)
    return []


def test_past_a_few_that_wait_others_are_told_to_come_again() -> None:
    """Each that waits holds a thread and its file, so that their number is bounded."""
    narrow = Sandbox([__name__], memory_bytes=200 * MIB, at_once=1, waiting=1)
    answers: list[str] = []

    def ask() -> None:
        try:
            narrow.run(slow, b"")
            answers.append("read")
        except UnavailableError:
            answers.append("away")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["away", "away", "read", "read"]


def allocating(content: bytes) -> Sequence[bytes]:
    return [np.ones(400 * MIB, np.uint8).tobytes()[:1]]


def crashing(content: bytes) -> Sequence[bytes]:
    ctypes.string_at(0)
    return []


def looping(content: bytes) -> Sequence[bytes]:
    while True:
        pass


def sleeping(content: bytes) -> Sequence[bytes]:
    time.sleep(60)
    return []


def writing(content: bytes) -> Sequence[bytes]:
    Path(content.decode()).write_bytes(b"x" * 10)
    return []


def leaving(content: bytes) -> Sequence[bytes]:
    os._exit(0)


@pytest.mark.parametrize("parse", [allocating, crashing, looping, sleeping, writing, leaving])
def test_what_a_parser_may_not_do_ends_it_and_nothing_else(sandbox: Sandbox, tmp_path: Path, parse: Any) -> None:
    """Too much memory, a crash, too much time and a write to a file are a refusal, and the next file is read."""
    target = tmp_path / "written"
    with pytest.raises(UnsafeFileError, match="can't be read safely"):
        sandbox.run(parse, str(target).encode())
    assert not target.exists() or target.stat().st_size == 0
    assert sandbox.run(reversed_twice, b"ab", 1) == [b"ba"]
