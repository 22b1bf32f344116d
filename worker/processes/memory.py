"""How much memory a job may have: it should end with an error of its own before the kernel ends the process."""

import sys
from pathlib import Path

import psutil

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_of_machine() -> int:
    """Bytes of this machine, or of the container that this is."""
    total: int = psutil.virtual_memory().total
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # no container, or one without a limit
        return total


def limit_memory(more_bytes: int) -> None:
    """From here on this process gets a MemoryError when it asks for so much more than it has.

    Linux only: elsewhere the system does not limit what numpy allocates, and the kernel decides.
    """
    if sys.platform == "linux":
        import resource

        limit = psutil.Process().memory_info().data + more_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
