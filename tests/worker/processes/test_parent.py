"""How a worker watches over its training processes, with processes that misbehave on purpose."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.worker.processes import children
from worker.processes import parent
from worker.processes.parent import Death, TrainingProcess, TrainingProcesses, ending


@pytest.fixture
def process_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TrainingProcess]]:
    """Make a training process whose child runs this function."""
    made: list[TrainingProcess] = []

    def make(child: Callable[..., None], *, silence_seconds: float = 30, stall_seconds: float = 30) -> TrainingProcess:
        monkeypatch.setattr(parent, "main", child)
        made.append(TrainingProcess("wrk_test", silence_seconds=silence_seconds, stall_seconds=stall_seconds))
        return made[-1]

    yield make
    for process in made:
        process.ask_to_end()


@contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    yield thread
    thread.join(timeout=10)
    assert not thread.is_alive()


def pid_of(process: TrainingProcess) -> int:
    assert process._process is not None
    assert process._process.pid is not None
    return process._process.pid


def test_a_process_runs_one_job_after_the_other(process_of: Callable[..., TrainingProcess]) -> None:
    """The same process takes each of them, and none of them is a death."""
    process = process_of(children.obedient)
    assert process.run("0.2") is None
    pid = pid_of(process)
    assert process.run("0.2") is None
    assert pid_of(process) == pid


def test_a_job_waits_until_a_slow_process_is_ready(process_of: Callable[..., TrainingProcess]) -> None:
    """A start is not a silence: it may take longer than a running job's process may be silent."""
    process = process_of(children.slow_to_start, silence_seconds=1)
    with in_background(process.start):
        time.sleep(0.5)
        assert process.is_starting
        assert process.run("0.1") is None
        assert not process.is_starting


def test_a_process_that_is_never_ready_is_killed(process_of: Callable[..., TrainingProcess]) -> None:
    """A start takes at most as long as a job may go without a step."""
    process = process_of(children.never_ready, stall_seconds=1)
    death = process.start()
    assert death is not None
    assert "without a sign of life" in death.how
    assert not psutil.pid_exists(death.pid)


@pytest.mark.parametrize(
    ("child", "how"),
    [
        (children.dead_at_start, "exit code 3"),
        (children.killed_by_its_job, "signal 9 (SIGKILL)"),
        (children.silent_with_its_job, "s without a sign of life"),
        (children.without_a_step, "s without a step"),
    ],
)
def test_a_death_says_which_process_and_how(
    process_of: Callable[..., TrainingProcess], child: Callable[..., None], how: str
) -> None:
    """Whether it dies before it is ready, with its job, or is killed because it hangs."""
    death = process_of(child, silence_seconds=1, stall_seconds=3).run("0.1")
    assert death is not None
    assert how in death.how
    assert not psutil.pid_exists(death.pid)


def test_a_process_that_died_while_idle_is_replaced(process_of: Callable[..., TrainingProcess]) -> None:
    """The next job does not notice."""
    process = process_of(children.obedient)
    process.start()
    pid = pid_of(process)
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert process.run("0.1") is None
    assert pid_of(process) != pid


def test_jobs_at_once_have_a_process_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third job beside two processes gets a new one; deaths are reported; after the end no job is begun."""
    monkeypatch.setattr(parent, "main", children.obedient)
    deaths: list[Death] = []
    processes = TrainingProcesses("wrk_test", deaths.append, silence_seconds=30, stall_seconds=30)
    processes.start(2)
    threads = [threading.Thread(target=processes.run, args=("1",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(processes._all) == 3
    assert not processes.is_starting
    assert deaths == []
    pids = [pid_of(process) for process in processes._all]
    processes.ask_to_end()
    began = time.monotonic()
    processes.run("5")
    assert time.monotonic() - began < 1
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() - began < 10
        time.sleep(0.05)


def test_an_ending_is_named() -> None:
    """A signal by its name, anything else by its exit code."""
    assert ending(-9) == "signal 9 (SIGKILL)"
    assert ending(1) == "exit code 1"


def test_a_parent_does_not_import_what_only_training_needs() -> None:
    """It would take a second more to start, and 100 MB."""
    program = "import sys, worker.tasks; print({'sklearn', 'scipy', 'worker.running.run'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
