"""Substitutes for a training process: each is ready, silent, stuck or dead in a way of its own."""

import os
import signal
import time
from multiprocessing.connection import Connection


def obedient(parent: Connection, _owner: str) -> None:
    """Ready at once; each job takes as many seconds as its id says, with a step at each pulse."""
    parent.send(None)
    steps = 0
    while True:
        for _ in range(int(float(parent.recv()) / 0.1)):
            time.sleep(0.1)
            steps += 1
            parent.send(steps)
        parent.send(None)


def slow_to_start(parent: Connection, owner: str) -> None:
    """Ready after two seconds in which it says nothing."""
    time.sleep(2)
    obedient(parent, owner)


def never_ready(_parent: Connection, _owner: str) -> None:
    time.sleep(60)


def dead_at_start(_parent: Connection, _owner: str) -> None:
    os._exit(3)


def killed_by_its_job(parent: Connection, _owner: str) -> None:
    parent.send(None)
    parent.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def silent_with_its_job(parent: Connection, _owner: str) -> None:
    parent.send(None)
    parent.recv()
    time.sleep(60)


def without_a_step(parent: Connection, _owner: str) -> None:
    """Alive, and sending the same number of steps for ever."""
    parent.send(None)
    parent.recv()
    while True:
        time.sleep(0.1)
        parent.send(7)
