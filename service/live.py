"""Live events of jobs: one reader thread in each process reads them from SQL, for any number of watchers.

Redis only says when to look at SQL. Without it the reader looks once a second, and misses nothing.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from worker.broker.doorbell import CHANNEL
from worker.records.events import Happening, happenings_after, sequence_numbers
from worker.records.sessions import Database

log = structlog.get_logger()

LOOK_SECONDS = 1.0
RING_LENGTH = 1000
READ_AT_ONCE = 500


class Channel:
    """The newest events of one job. Watchers pull from it, so a slow watcher takes no memory here and loses nothing.

    floor: every event with a higher number is in the ring. A watcher that is further behind reads from SQL.
    """

    def __init__(self, seq: int) -> None:
        self.changed = threading.Condition()
        self.ring: deque[Happening] = deque(maxlen=RING_LENGTH)
        self.floor = self.newest = seq
        self.watchers = 0
        self.closed = False

    def push(self, found: list[Happening]) -> None:
        """Append happenings, in order, and wake the watchers."""
        with self.changed:
            for happening in found:
                if len(self.ring) == RING_LENGTH:
                    self.floor = self.ring[0].seq
                self.ring.append(happening)
                self.newest = happening.seq
            self.changed.notify_all()

    def close(self) -> None:
        """End every watch on this job."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class Live:
    """The watches of one process. Create it after the fork. The reader thread starts with the first watcher."""

    def __init__(self, database: Database, redis_url: str, *, watchers_limit: int) -> None:
        self._database, self._redis_url = database, redis_url
        self._limit = watchers_limit
        self._lock = threading.Lock()
        self._channels: dict[str, Channel] = {}
        self._watchers = 0
        self._reader: threading.Thread | None = None
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End every watch. Call this when the process stops."""
        self._closed.set()
        with self._lock:
            channels = list(self._channels.values())
        for channel in channels:
            channel.close()

    @contextmanager
    def watching(self, job_id: str) -> Iterator["Watch | None"]:
        """Watch the job. Yields None if the process has no room for another watcher. Raises UnavailableError."""
        channel = self._join(job_id)
        try:
            yield None if channel is None else Watch(self._database, job_id, channel)
        finally:
            if channel is not None:
                self._leave(job_id, channel)

    def _join(self, job_id: str) -> Channel | None:
        # before the lock: a slow database must not block other watchers, or the stopping process
        with self._database.reading() as session:
            newest = sequence_numbers(session, [job_id]).get(job_id, 0)
        with self._lock:
            if self._watchers >= self._limit or self.closed:
                return None
            self._watchers += 1
            channel = self._channels.setdefault(job_id, Channel(newest))
            channel.watchers += 1
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="live", daemon=True)
                self._reader.start()
            return channel

    def _leave(self, job_id: str, channel: Channel) -> None:
        with self._lock:
            self._watchers -= 1
            channel.watchers -= 1
            if channel.watchers == 0 and self._channels.get(job_id) is channel:
                del self._channels[job_id]

    def _read(self) -> None:
        """Look at a job when Redis announces it, and at every watched job once a second, however much is announced."""
        bell = _Bell(self._redis_url)
        look_at_all = time.monotonic()
        while not self.closed:
            rung = bell.wait(max(0.0, look_at_all - time.monotonic()))
            with self._lock:
                watched = dict(self._channels)
            if not rung or time.monotonic() >= look_at_all:
                look_at_all = time.monotonic() + LOOK_SECONDS
            else:
                watched = {job_id: watched[job_id] for job_id in rung if job_id in watched}
            try:
                self._look(watched)
            except Exception as error:  # noqa: BLE001 - without the reader every stream of the process would stop
                log.warning("live_look_failed", error=repr(error))

    def _look(self, channels: dict[str, Channel]) -> None:
        """Push to the channels the events in SQL that they do not have yet."""
        if not channels:
            return
        with self._database.reading() as session:
            numbers = sequence_numbers(session, list(channels))
            for job_id in channels.keys() - numbers.keys():
                # the job was deleted: its streams end
                channels[job_id].close()
            for job_id, seq in numbers.items():
                channel = channels[job_id]
                while channel.newest < seq:
                    found = happenings_after(session, job_id, channel.newest, limit=READ_AT_ONCE)
                    if not found:
                        break
                    channel.push(found)


class Watch:
    """One watcher's view of a job."""

    def __init__(self, database: Database, job_id: str, channel: Channel) -> None:
        self._database, self._job_id, self._channel = database, job_id, channel

    @property
    def closed(self) -> bool:
        return self._channel.closed

    def after(self, seq: int, timeout: float) -> list[Happening]:
        """Return the events with a number above `seq`, in order. Wait for one if there is none yet.

        timeout: how many seconds to wait. The list is empty after the timeout, or when the watch is closed.
        """
        channel = self._channel
        with channel.changed:
            if channel.newest <= seq and not channel.closed:
                channel.changed.wait(timeout)
            if channel.newest <= seq:
                return []
            if channel.floor <= seq:
                return [happening for happening in channel.ring if happening.seq > seq]
        with self._database.reading() as session:
            return happenings_after(session, self._job_id, seq, limit=READ_AT_ONCE)


class _Bell:
    """Receives the announcements from Redis, on a connection of its own that is opened again after a failure."""

    def __init__(self, redis_url: str) -> None:
        # the default socket timeout of 5 s would end a blocking read
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=None, socket_connect_timeout=0.5)
        self._subscription: redis.client.PubSub | None = None
        self._pause = threading.Event()

    def wait(self, seconds: float) -> set[str]:
        """Return the ids of announced jobs after at most this many seconds; empty without an announcement.

        While Redis is away it waits for a second at least.
        """
        until = time.monotonic() + seconds
        try:
            if self._subscription is None:
                self._subscription = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                self._subscription.subscribe(CHANNEL)
            rung: set[str] = set()
            message = self._subscription.get_message(timeout=seconds)
            while message is not None:
                rung.add(message["data"].decode("ascii", "replace"))
                # announcements may come faster than they are read: the caller must get its turn all the same
                message = self._subscription.get_message(timeout=0) if time.monotonic() < until else None
        except (redis.RedisError, OSError):
            self._subscription = None
            self._pause.wait(LOOK_SECONDS)
            return set()
        return rung
