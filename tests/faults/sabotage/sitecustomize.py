"""Python runs this at the start of every process of a product under test: failpoints without a line in the product.

The functions of POINTS are wrapped. What a call of one does is read from a file that the test writes, named by
GRADMILL_TEST_FAILPOINT: `module:function before|after kill|stop|segv|hang|spin|slow`. The first call that finds the
file removes it, so that exactly one process acts, once. A slow call takes GRADMILL_TEST_SLOW_SECONDS longer.
GRADMILL_TEST_DEAF_SECONDS replaces the product's own number.
"""

import ctypes
import functools
import importlib
import os
import select
import signal
import time
from pathlib import Path

FILE = Path(os.environ["GRADMILL_TEST_FAILPOINT"])
SLOW_SECONDS = float(os.environ.get("GRADMILL_TEST_SLOW_SECONDS", "8"))
POINTS = (
    "worker.records.lease:claim_job",
    "worker.records.lease:guard",
    "worker.records.lease:rescue_job",
    "worker.records.curves:record_epochs",
    "worker.records.checkpoints:publish_checkpoint",
    "worker.records.transitions:end_attempt",
    "worker.running.run:Runner.__init__",
    "worker.running.run:Runner.run_claim",
    "worker.running.run:JobAttempt.run",
    "worker.running.run:JobAttempt._succeed",
    "worker.running.stopping:Stopping.__call__",
)


def act(name, when):
    try:
        point, moment, action = FILE.read_text().split()
        if (point, moment) != (name, when):
            return
        FILE.rename(f"{FILE}.{os.getpid()}")
    except OSError:
        # there is none, or another process took it
        return
    if action in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    elif action == "segv":
        ctypes.string_at(0)
    elif action == "hang":
        time.sleep(3600)
    elif action == "slow":
        time.sleep(SLOW_SECONDS)
    elif action == "spin":
        # PyDLL keeps the interpreter's lock: not even the threads go on
        ctypes.PyDLL(None).sleep(3600)


def wrapped(name, function):
    @functools.wraps(function)
    def wrapper(*arguments, **options):
        act(name, "before")
        result = function(*arguments, **options)
        act(name, "after")
        return result

    return wrapper


if "FAKETIME" in os.environ:
    # libfaketime has every clock_nanosleep fail with EINVAL; a write that is tried again must be able to wait
    time.sleep = lambda seconds: select.select((), (), (), seconds)

for name in POINTS:
    module, _, path = name.partition(":")
    owner = importlib.import_module(module)
    *classes, attribute = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    setattr(owner, attribute, wrapped(name, getattr(owner, attribute)))

if (seconds := os.environ.get("GRADMILL_TEST_DEAF_SECONDS")) is not None:
    importlib.import_module("worker.rescue").DEAF_SECONDS = float(seconds)
