"""Run the measurements that are named, or all."""

import sys
from collections.abc import Callable

from tests.benchmarks import recording, service

MEASUREMENTS: dict[str, Callable[[], None]] = {"service": service.measure, "recording": recording.measure}

for name in sys.argv[1:] or MEASUREMENTS:
    print(f"\n== {name}")
    MEASUREMENTS[name]()
