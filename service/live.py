"""Live events of jobs: one reader thread in each process reads them from SQL, for any number of watchers.

A watcher is a coroutine, so it costs no thread. Redis only says when to look at SQL. Without it the reader looks once a
second, and misses nothing.
"""

import asyncio
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from typing import TypeVar
from weakref import WeakKeyDictionary

import redis
import structlog

from service.frames import Frame
from worker.broker.doorbell import CHANNEL
from worker.records.events import events_of, happenings_after, sequence_numbers
from worker.records.sessions import Database

log = structlog.get_logger()

LOOK_SECONDS = 1.0
RING_LENGTH = 1000
READ_AT_ONCE = 500
LOOKED_AT_ONCE = 1000
"How many jobs one statement looks at. SQLite takes at most 32,766 values."
READ_TOGETHER = 50
"How many jobs' events one statement reads."
WOKEN_AT_ONCE = 64
"""So many watchers are woken, of whatever jobs, then the loop has a turn for others: a prediction does not wait for
5,000 watchers."""
READERS = 2
"Threads that read for watchers which are further behind than the ring."

T = TypeVar("T")
Future = asyncio.Future[None]


class Waker:
    """Wakes the coroutines of one loop, a few in each of its rounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # a loop is the key of its waker, which must not keep it
        self._loop = weakref.ref(loop)
        self._due: deque[Future] = deque()

    def wake(self, waiting: Iterable[Future]) -> None:
        """Have these futures resolved soon. Any thread may call it."""
        # a loop that has been closed has no watchers any more
        if (loop := self._loop()) is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._add, list(waiting))

    def _add(self, waiting: list[Future]) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._due.extend(waiting)

    def _wake_some(self) -> None:
        for _ in range(min(WOKEN_AT_ONCE, len(self._due))):
            _resolve(self._due.popleft())
        if self._due:
            asyncio.get_running_loop().call_soon(self._wake_some)


def _resolve(waiting: Future) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Channel:
    """The newest events of one job. Watchers pull from it, so a slow watcher takes no memory here and loses nothing.

    floor: every event with a higher number is in the ring. A watcher that is further behind reads from SQL.
    """

    def __init__(self, seq: int) -> None:
        self._lock = threading.Lock()
        self._ring: deque[Frame] = deque(maxlen=RING_LENGTH)
        self._floor = self.newest = seq
        self._waiting: defaultdict[Waker, set[Future]] = defaultdict(set)
        self.watchers = 0
        self.closed = False

    def push(self, frames: list[Frame]) -> None:
        """Append events, in order, and wake the watchers. Any thread may call it."""
        with self._lock:
            for frame in frames:
                if len(self._ring) == RING_LENGTH:
                    self._floor = self._ring[0].seq
                self._ring.append(frame)
                self.newest = frame.seq
        self._wake()

    def reach_back(self, seq: int, frames: list[Frame]) -> None:
        """Take older events into the ring, if it has room for them, for the watchers who will want the same.

        frames: the events after `seq`, in order, with which SQL answered a watcher that was further behind.
        """
        with self._lock:
            older = [frame for frame in frames if frame.seq <= self._floor]
            is_gapless = seq < self._floor and bool(frames) and frames[-1].seq >= self._floor
            if is_gapless and len(self._ring) + len(older) < RING_LENGTH:
                self._ring.extendleft(reversed(older))
                self._floor = seq

    def close(self) -> None:
        """End every watch on this job."""
        self.closed = True
        self._wake()

    def after(self, seq: int) -> list[Frame] | None:
        """Return the events with a number above `seq`, in order; None if not all of them are in the ring."""
        with self._lock:
            if self._floor > seq:
                return None
            newest_first = takewhile(lambda frame: frame.seq > seq, reversed(self._ring))
            return list(newest_first)[::-1]

    def add(self, waker: Waker, waiting: Future, seq: int) -> bool:
        """Have this future resolved at the next event. Return False if there are events after `seq` already."""
        with self._lock:
            if self.newest > seq or self.closed:
                return False
            self._waiting[waker].add(waiting)
            return True

    def discard(self, waker: Waker, waiting: Future) -> None:
        with self._lock:
            there = self._waiting[waker]
            there.discard(waiting)
            if not there:
                del self._waiting[waker]

    def _wake(self) -> None:
        with self._lock:
            woken, self._waiting = self._waiting, defaultdict(set)
        for waker, waiting in woken.items():
            waker.wake(waiting)


class Live:
    """The watches of one process. Create it after the fork. The reader thread starts with the first watcher."""

    def __init__(self, database: Database, redis_url: str, *, watchers_limit: int) -> None:
        self._database, self._redis_url = database, redis_url
        self._limit = watchers_limit
        self._lock = threading.Lock()
        self._channels: dict[str, Channel] = {}
        self._wakers: WeakKeyDictionary[asyncio.AbstractEventLoop, Waker] = WeakKeyDictionary()
        self._watchers = 0
        self._reader: threading.Thread | None = None
        self._closed = threading.Event()
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="events")

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

    def join(self) -> None:
        """Wait until nothing here uses the database any more, after `close`."""
        if self._reader is not None:
            self._reader.join()
        self.readers.shutdown()

    def watch(self, job_id: str, newest: int) -> "Watch | None":
        """Begin to watch the job; None if the process has no room for another watcher. Whoever has a watch leaves it.

        newest: the number of the job's newest event, or of an earlier one.
        """
        with self._lock:
            if self._watchers >= self._limit or self.closed:
                return None
            self._watchers += 1
            channel = self._channels.setdefault(job_id, Channel(newest))
            channel.watchers += 1
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="live", daemon=True)
                self._reader.start()
        return Watch(self, job_id, channel)

    def leave(self, job_id: str, channel: Channel) -> None:
        with self._lock:
            self._watchers -= 1
            channel.watchers -= 1
            if channel.watchers == 0 and self._channels.get(job_id) is channel:
                del self._channels[job_id]

    def waker(self) -> Waker:
        """Return the one of the running loop."""
        loop = asyncio.get_running_loop()
        return self._wakers.setdefault(loop, Waker(loop))

    def frames_after(self, job_id: str, seq: int) -> list[Frame]:
        """Read events with a number above `seq` from SQL, in order. Raises UnavailableError."""
        with self._database.reading() as session:
            return [Frame(happening) for happening in happenings_after(session, job_id, seq, limit=READ_AT_ONCE)]

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
        for ids in _slices(list(channels), LOOKED_AT_ONCE):
            with self._database.reading() as session:
                numbers = sequence_numbers(session, ids)
            for job_id in set(ids) - numbers.keys():
                # the job was deleted: its streams end
                channels[job_id].close()
            behind = [job_id for job_id, seq in numbers.items() if channels[job_id].newest < seq]
            for part in _slices(behind, READ_TOGETHER):
                self._catch_up({job_id: channels[job_id] for job_id in part}, numbers)

    def _catch_up(self, channels: dict[str, Channel], numbers: dict[str, int]) -> None:
        """Push to the channels what they lack. numbers: of the newest event of each job."""
        with self._database.reading() as session:
            events = events_of(session, {job_id: channel.newest for job_id, channel in channels.items()})
        for job_id, channel in channels.items():
            # there may be more by now, of which the number was not read
            found = [Frame(happening) for happening in events.get(job_id, ()) if happening.seq <= numbers[job_id]]
            if len(found) == numbers[job_id] - channel.newest:
                channel.push(found)
            # otherwise there are epochs among them
            while channel.newest < numbers[job_id] and (found := self.frames_after(job_id, channel.newest)):
                channel.push(found)


def _slices(ids: list[str], length: int) -> Iterator[list[str]]:
    return (ids[start : start + length] for start in range(0, len(ids), length))


class Watch:
    """One watcher's view of a job."""

    def __init__(self, live: Live, job_id: str, channel: Channel) -> None:
        self._live, self._job_id, self._channel = live, job_id, channel
        self._left = False

    @property
    def closed(self) -> bool:
        return self._channel.closed

    def leave(self) -> None:
        """Stop watching. Doing so twice does no harm."""
        if not self._left:
            self._left = True
            self._live.leave(self._job_id, self._channel)

    async def changed(self, seq: int, seconds: float) -> None:
        """Return as soon as there is an event after `seq`, the watch is closed, or the time is over."""
        loop, waker = asyncio.get_running_loop(), self._live.waker()
        waiting: Future = loop.create_future()
        if not self._channel.add(waker, waiting, seq):
            return
        timer = loop.call_later(seconds, _resolve, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._channel.discard(waker, waiting)

    async def after(self, seq: int, seconds: float) -> list[Frame]:
        """Return the events with a number above `seq`, in order. Wait for one if there is none yet.

        seconds: how long to wait. The list is empty after that, or when the watch is closed.
        """
        await self.changed(seq, seconds)
        found = self._channel.after(seq)
        if found is not None:
            return found
        # further behind than the ring
        return await self.off_the_loop(lambda: self._read(seq))

    def _read(self, seq: int) -> list[Frame]:
        # another watcher may have read the same meanwhile
        if (known := self._channel.after(seq)) is not None:
            return known
        frames = self._live.frames_after(self._job_id, seq)
        self._channel.reach_back(seq, frames)
        return frames

    async def off_the_loop(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. A database must not hold up the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._live.readers, work)


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
