"""The pool of a process's connections to PostgreSQL: what nobody has used for a while is given back to the server."""

import time

from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util.queue import Empty

RETURNED_AT = "returned_at"


class ShrinkingPool(QueuePool):
    """A pool that can close connections by age. Make it with `use_lifo`, so that those not needed are left alone."""

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        record.info[RETURNED_AT] = time.monotonic()
        super()._do_return_conn(record)

    def close_idle(self, seconds: float) -> None:
        """Close the connections that nobody has used for this long."""
        kept = []
        # as QueuePool itself does when it is disposed of, and when a connection is returned that has no place
        while True:
            try:
                record = self._pool.get(block=False)
            except Empty:
                break
            if time.monotonic() - record.info.get(RETURNED_AT, 0.0) < seconds:
                kept.append(record)
                continue
            try:
                record.close()
            finally:
                self._dec_overflow()
        for record in reversed(kept):
            super()._do_return_conn(record)
