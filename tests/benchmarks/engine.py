"""Samples a second of the engine and of what a user would take instead: interleaved, on one core and on two.

Each engine is a process of its own on the same cores; one runs while the others wait, in turns.
"""

import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import time
import timeit

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from tests.benchmarks.peers import gradmill
from tests.benchmarks.workloads import WORKLOADS

PEERS = {"gradmill": "numpy", "scikit_learn": "sklearn", "pytorch": "torch", "jax_scan": "jax"}
ROUNDS, SECONDS = 5, 1.0
TURNS = {1: list(WORKLOADS), 2: ["W3", "W4"]}


class Child:
    """An engine at work on one workload."""

    def __init__(self, peer: str, name: str, cores: int) -> None:
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cores))
        if cores == 1:
            threads["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.engine", peer, name, str(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=natural_environment() | threads,
            text=True,
        )
        self.run(0.1)

    def run(self, seconds: float) -> float:
        """Samples a second, over at least so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def natural_environment() -> dict[str, str]:
    """Without a choice of BLAS kernel that this machine may have been given: each library takes its best."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}


def child(peer: str, name: str, cores: int) -> None:
    """The other end: a line of seconds in, a line of samples a second out."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    workload = WORKLOADS[name]
    train = importlib.import_module(f"tests.benchmarks.peers.{peer}").start(workload)
    for line in sys.stdin:
        began, epochs = time.perf_counter(), 0
        while time.perf_counter() - began < float(line):
            epochs += train()
        print(epochs * workload.rows / (time.perf_counter() - began), flush=True)


def compare(name: str, cores: int, peak: float) -> None:
    here = [peer for peer, module in PEERS.items() if importlib.util.find_spec(module)]
    children = {peer: Child(peer, name, cores) for peer in here}
    found: dict[str, list[float]] = {peer: [] for peer in here}
    for _ in range(ROUNDS):
        for peer, at_work in children.items():
            found[peer].append(at_work.run(SECONDS))
    for at_work in children.values():
        at_work.end()
    speed = {peer: statistics.median(values) for peer, values in found.items()}
    columns = [f"{speed[peer] / 1e3:12.1f}" if peer in speed else "           -" for peer in PEERS]
    ratios = [f"{speed['gradmill'] / speed[peer]:6.2f}x" if peer in speed else "      -" for peer in list(PEERS)[1:]]
    share = speed["gradmill"] * WORKLOADS[name].flops / peak
    print(f"{name}  {cores}    {' '.join(columns)}   {' '.join(ratios)}   {share:5.0%}", flush=True)


def peak_flops(cores: int) -> float:
    """Of a product of large float32 matrices."""
    a, b, out = (np.ones((1536, 1536), np.float32) for _ in range(3))
    with threadpool_limits(cores):
        seconds = min(timeit.repeat(lambda: np.dot(a, b, out), number=1, repeat=12))
    return 2 * 1536**3 / seconds


def measure_stack() -> None:
    """64 members of W1 at once, against one alone."""
    with threadpool_limits(1):
        times: dict[int | None, list[float]] = {None: [], 64: []}
        runs = {
            count: gradmill.training_of(WORKLOADS["W1"], count and tuple(range(count))).run(lambda: False)
            for count in times
        }
        for _ in range(9):
            for count, run in runs.items():
                times[count].append(min(timeit.repeat(lambda run=run: next(run), number=10, repeat=2)) / 10)  # type: ignore[misc]
        single, stack = (statistics.median(values) for values in times.values())
        print(f"64 members of W1 in a stack take {stack / single:.1f} times one alone: {stack / single / 64:.3f} of 64")


def measure_forward() -> None:
    """One row, 30-64-64-2."""
    network = gradmill.network_of(WORKLOADS["W2"])
    parameters = network.parameters()
    network.initialize(parameters, (0,))
    x = np.ones((1, 30), np.float32)
    with threadpool_limits(1):
        micros = min(timeit.repeat(lambda: network.forward(parameters, x), number=5000, repeat=9)) / 5000 * 1e6
    print(f"forward of one row of 30-64-64-2: {micros:.1f} us")


def measure() -> None:
    kernel = next(info for info in threadpool_info() if info["user_api"] == "blas")
    print(f"{kernel['internal_api']} {kernel['version']}, {kernel['architecture']} kernel, NumPy {np.__version__}")
    print(f"thousand samples a second, medians of {ROUNDS} interleaved runs of {SECONDS:g} s or more")
    print("    cores  " + " ".join(f"{peer:>12}" for peer in PEERS) + "   gradmill against these    of peak")
    for cores, names in TURNS.items():
        peak = peak_flops(cores)
        print(f"sgemm peak on {cores}: {peak / 1e9:.0f} GFLOP/s")
        for name in names:
            compare(name, cores, peak)
    measure_stack()
    measure_forward()


if __name__ == "__main__":
    peer, workload, count = sys.argv[1:]
    child(peer, workload, int(count))
