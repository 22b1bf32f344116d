"""Run the measurements that are named, or all."""

import sys
from collections.abc import Callable

from tests.benchmarks import engine, queue, recording, service, serving, tables, watchers

MEASUREMENTS: dict[str, Callable[[], None]] = {
    "engine": engine.measure,
    "service": service.measure,
    "serving": serving.measure,
    "recording": recording.measure,
    "queue": queue.measure,
    "tables": tables.measure,
    "watchers": watchers.measure,
}

for name in sys.argv[1:] or MEASUREMENTS:
    print(f"\n== {name}")
    MEASUREMENTS[name]()
