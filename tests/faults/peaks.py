"""Measures the peak memory of an API process while it answers, and whether others are answered meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.products import Product, command_line

MIB = 2**20


class Peak:
    """What a block of requests cost.

    bytes: the peak above what the process had before.
    slowest: the longest that a health check took, in seconds.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.slowest = 0.0
        self.checks = 0


@contextmanager
def measured(product: Product) -> Iterator[Peak]:
    """Measure the block. Health is asked for all the time, each time with a new connection."""
    peak, stop = Peak(), threading.Event()
    pids = [pid for pid in product.processes() if b"service.edge" in command_line(pid)]
    assert pids
    for pid in pids:
        # from here on, VmHWM is the peak since now. Source: man 5 proc, clear_refs
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    rest = {pid: _bytes(pid, "VmRSS") for pid in pids}

    def look() -> None:
        while not stop.wait(0.02):
            began = time.monotonic()
            httpx2.get(f"{product.url}/healthz", timeout=30).raise_for_status()
            peak.slowest, peak.checks = max(peak.slowest, time.monotonic() - began), peak.checks + 1

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peak
    finally:
        stop.set()
        looking.join()
    peak.bytes = max(_bytes(pid, "VmHWM") - rest[pid] for pid in pids)


def _bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
