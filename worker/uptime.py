"""The clock by which a process judges its own lease."""

import time
from functools import partial

# time.monotonic leaves out the time that a machine slept; a lease in the database does not
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

uptime = partial(time.clock_gettime, _CLOCK)
"Seconds; never steps back, and counts those that the machine slept."
