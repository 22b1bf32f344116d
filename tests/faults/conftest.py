"""Which faults are tried in which form of a run."""

from tests.faults.lengths import IS_LONG, LONG_ONLY

collect_ignore = [] if IS_LONG else LONG_ONLY
