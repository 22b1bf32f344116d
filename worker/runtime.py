"""What every process needs: its log, a limit of its memory, a clock that counts sleep, and the package's version."""

import logging
import sys
import time
from functools import cache, partial
from importlib import metadata

import psutil
import structlog


def configure_log(level: str) -> None:
    """Write our log records and those of our libraries as JSON lines, with the job and request ids that are bound."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # it logs the kind of database whenever the schema is checked
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )


def limit_memory(more_bytes: int) -> None:
    """Let this process allocate this many bytes more than it has now. An allocation past that raises MemoryError.

    So what needs too much fails by itself, before the kernel kills the whole process. Linux only: other systems
    do not limit what NumPy allocates.
    """
    if sys.platform == "linux":
        import resource

        limit = psutil.Process().memory_info().data + more_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


# time.monotonic does not count the time that a machine slept, but a lease in the database does
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

uptime = partial(time.clock_gettime, _CLOCK)
"Return seconds on a clock that never steps back, and that counts the time the machine slept."


@cache
def version() -> str:
    """Return the version of the installed package. Cached: reading it takes a quarter of a millisecond."""
    return metadata.version("gradmill")
