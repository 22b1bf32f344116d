"""An answer that is given later: a handler returns what to wait for, so that no thread waits."""

from collections.abc import Callable
from dataclasses import dataclass

from service.live import Watch
from service.reply import Reply


@dataclass(frozen=True)
class Waiting:
    """Wait for the next event of a job, then answer.

    watch: it is left afterwards.
    seq: the number of the last event that is known.
    seconds: how long to wait at most.
    then: makes the reply. It may block.
    """

    watch: Watch
    seq: int
    seconds: float
    then: Callable[[], Reply]

    async def over(self) -> None:
        """Return when there is news, after the time, or when the watch is closed."""
        try:
            await self.watch.changed(self.seq, self.seconds)
        finally:
            self.watch.leave()
