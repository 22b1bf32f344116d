"""Streams: every happening once and in order, from wherever a watcher left."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.context import Parts
from service.frames import Frame
from service.live import RING_LENGTH, WOKEN_AT_ONCE, Channel, Live, Waker, Watch
from worker.records.events import Happening, Kind, happenings_after, sequence_numbers
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import make_engine
from worker.records.transitions import change_status

Post = Callable[..., TestResponse]
Run = Callable[[str], str | None]
Later = Callable[..., None]


@contextmanager
def watching(live: Live, job_id: str) -> Iterator[Watch | None]:
    watch = live.watch(job_id, 1)
    try:
        yield watch
    finally:
        if watch is not None:
            watch.leave()


def epochs(numbers: range) -> list[Frame]:
    return [Frame(Happening(n, "epoch", {})) for n in numbers]


def frames(text: str) -> list[tuple[int | None, str, Any]]:
    """(id, event, data) of a text/event-stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((number, fields["event"], json.loads(fields["data"])))
    return found


def test_a_finished_job_is_replayed_from_any_number(succeeded: Callable[..., str], client: FlaskClient) -> None:
    """Ids are 1, 2, 3, ...; status and end carry the job, and epochs their point. After the end the answer is 204."""
    job_id = succeeded()
    answer = client.get(f"/v1/jobs/{job_id}/events")
    assert answer.content_type.startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    found = frames(answer.get_data(as_text=True))
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    assert [data["epoch"] for _, event, data in found if event == "epoch"] == [1, 2, 3, 4, 5]
    assert [data["status"] for _, event, data in found if event in ("status", "end")] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert found[-1][1] == "end"
    assert "spec" not in found[-1][2]
    assert found[-1][2]["links"]["self"] == f"/v1/jobs/{job_id}"
    for seen in (0, 1, 4, len(found) - 1):
        rest = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(seen)})
        assert frames(rest.get_data(as_text=True)) == found[seen:]
        assert frames(client.get(f"/v1/jobs/{job_id}/events?after={seen}").get_data(as_text=True)) == found[seen:]
    assert client.get(f"/v1/jobs/{job_id}/events?after={len(found)}").status_code == 204
    both = client.get(f"/v1/jobs/{job_id}/events?after=0", headers={"Last-Event-ID": str(len(found) - 1)})
    assert frames(both.get_data(as_text=True)) == found[-1:]


def test_lines_say_the_same_as_frames(succeeded: Callable[..., str], client: FlaskClient) -> None:
    """NDJSON has the ids, kinds and data of the server-sent events."""
    job_id = succeeded()
    answer = client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in answer.get_data(as_text=True).splitlines()]
    expected = frames(client.get(f"/v1/jobs/{job_id}/events").get_data(as_text=True))
    assert [(line["id"], line["event"], line["data"]) for line in lines] == expected


@pytest.mark.parametrize("number", ["x", "-1", "\u0663", "9" * 30, "1.5"])
def test_a_last_event_id_that_is_no_number_is_refused(
    succeeded: Callable[..., str], client: FlaskClient, number: str
) -> None:
    """Digits of another script and a number that is too long are refused too."""
    headers = {"Last-Event-ID": number.encode().decode("latin-1")}
    assert client.get(f"/v1/jobs/{succeeded()}/events", headers=headers).status_code == 400


def test_a_watcher_sees_a_job_as_it_happens(post: Post, run: Run, client: FlaskClient, later: Later) -> None:
    """It gets heartbeats without ids while the job waits, then everything in order up to the end of the job."""
    job_id = post().get_json()["id"]
    later(0.7, run, job_id)
    found = frames(client.get(f"/v1/jobs/{job_id}/events").get_data(as_text=True))
    beats = [number for number, event, _ in found if event == "heartbeat"]
    assert len(beats) >= 2
    assert set(beats) == {None}
    numbers = [number for number, event, _ in found if event != "heartbeat"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert found[-1][1] == "end"


def test_past_the_limit_a_watcher_is_asked_to_come_back(post: Post, client: FlaskClient, parts: Parts) -> None:
    """The answer is 503 with Retry-After; a watcher that leaves makes room."""
    job_id = post().get_json()["id"]
    parts.live._limit = 1
    with watching(parts.live, job_id) as watch:
        assert watch is not None
        refused = client.get(f"/v1/jobs/{job_id}/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    parts.live._limit = 2
    stream = client.get(f"/v1/jobs/{job_id}/events")
    assert stream.status_code == 200
    stream.close()
    assert parts.live._watchers == 0


def test_a_deleted_job_ends_its_streams(post: Post, client: FlaskClient, later: Later) -> None:
    """A watcher does not get heartbeats for ever, and a waiting request does not wait until its time is over."""
    job_id = post().get_json()["id"]
    later(0.3, client.delete, f"/v1/jobs/{job_id}")
    began = time.monotonic()
    client.get(f"/v1/jobs/{job_id}/events").get_data()
    assert time.monotonic() - began < 5
    other = post().get_json()["id"]
    later(0.3, client.delete, f"/v1/jobs/{other}")
    assert client.get(f"/v1/jobs/{other}", headers={"Prefer": "wait=20"}).status_code == 404
    assert time.monotonic() - began < 10


def test_a_database_that_is_away_takes_no_watchers_place(post: Post, client: FlaskClient, parts: Parts) -> None:
    """However many attempts to watch have failed, there is room for as many watchers as before."""
    job_id = post().get_json()["id"]
    parts.live._limit = 1
    known, parts.database.engine = parts.database.engine, make_engine("postgresql+psycopg://nobody@127.0.0.1:9/none")
    for _ in range(3):
        assert client.get(f"/v1/jobs/{job_id}/events").status_code == 503
    parts.database.engine = known
    with watching(parts.live, job_id) as watch:
        assert watch is not None


def test_a_number_beyond_the_newest_is_refused_while_the_job_lives(post: Post, client: FlaskClient) -> None:
    """A client that waits for it would wait for ever."""
    job_id = post().get_json()["id"]
    assert client.get(f"/v1/jobs/{job_id}/events?after=1000").status_code == 400


def test_a_stop_ends_the_streams(post: Post, client: FlaskClient, parts: Parts, later: Later) -> None:
    """They end within seconds, so that the process can stop."""
    job_id = post().get_json()["id"]
    later(0.3, parts.live.close)
    began = time.monotonic()
    client.get(f"/v1/jobs/{job_id}/events").get_data()
    assert time.monotonic() - began < 3


def test_without_redis_a_watcher_misses_nothing(post: Post, run: Run, parts: Parts, later: Later) -> None:
    """The reader looks once a second: events come later, but each comes once."""
    live = Live(parts.database, "redis://127.0.0.1:9/0", watchers_limit=5)
    job_id = post().get_json()["id"]
    seen: list[Frame] = []
    later(0.2, run, job_id)
    with watching(live, job_id) as watch:
        assert watch is not None
        while not seen or seen[-1].kind != "end":
            seen += asyncio.run(watch.after(seen[-1].seq if seen else 0, 5))
    live.close()
    with parts.database.reading() as session:
        known = [Frame(happening).sse for happening in happenings_after(session, job_id, 0, limit=1000)]
    assert [frame.sse for frame in seen] == known


def test_an_announcement_that_is_lost_delays_a_watcher_by_a_second(post: Post, parts: Parts) -> None:
    """However often other jobs are announced, each watcher gets a look at its own job once a second."""
    silent, busy = post().get_json()["id"], post().get_json()["id"]
    with watching(parts.live, silent) as watch, watching(parts.live, busy):
        assert watch is not None
        stopped = threading.Event()
        noise = threading.Thread(target=announce_often, args=(parts, busy, stopped))
        noise.start()
        try:
            time.sleep(0.5)
            parts.database.write(lambda session: change_status(session, DEFAULT_PROJECT, silent, "cancel"))
            began = time.monotonic()
            found = asyncio.run(watch.after(1, 10))
        finally:
            stopped.set()
            noise.join()
    assert [happening.kind for happening in found] == ["end"]
    assert time.monotonic() - began < 3


def announce_often(parts: Parts, job_id: str, stopped: threading.Event) -> None:
    while not stopped.wait(0.001):
        parts.doorbell.announce(job_id)


def test_a_slow_watcher_reads_what_left_the_ring_from_sql(succeeded: Callable[..., str], parts: Parts) -> None:
    """A watcher that is further behind than the ring is long still gets everything."""
    job_id = succeeded()
    with watching(parts.live, job_id) as watch:
        assert watch is not None
        channel = watch._channel
        channel.push(epochs(range(100, 100 + RING_LENGTH + 50)))
        found = asyncio.run(watch.after(1000, 0))
        assert [frame.seq for frame in found] == list(range(1001, 100 + RING_LENGTH + 50))
        from_sql = asyncio.run(watch.after(3, 0))
        with parts.database.reading() as session:
            known = [Frame(happening).sse for happening in happenings_after(session, job_id, 3, limit=500)]
        assert [frame.sse for frame in from_sql] == known


def test_a_ring_knows_how_far_back_it_reaches() -> None:
    """Its floor rises only when an event is dropped."""
    channel = Channel(10)
    channel.push(epochs(range(11, 12)))
    assert channel.newest == 11
    assert channel.after(9) is None
    assert channel.after(11) == []
    channel.push(epochs(range(12, 12 + RING_LENGTH)))
    assert channel.after(10) is None
    assert [frame.seq for frame in channel.after(11) or []] == list(range(12, 12 + RING_LENGTH))


def test_watchers_who_begin_at_the_same_place_share_one_look_at_sql(
    succeeded: Callable[..., str], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reads the events of the past, which the ring then has for the others; later ones are not lost."""
    job_id = succeeded()
    looks: list[int] = []
    usual = parts.live.frames_after
    monkeypatch.setattr(parts.live, "frames_after", lambda job, seq: looks.append(seq) or usual(job, seq))  # type: ignore[func-returns-value]
    with parts.database.reading() as session:
        newest = sequence_numbers(session, [job_id])[job_id]
    watches = [parts.live.watch(job_id, newest) for _ in range(5)]
    found = [asyncio.run(watch.after(0, 0)) for watch in watches if watch is not None]
    assert looks == [0]
    assert [[frame.seq for frame in frames] for frames in found] == [list(range(1, newest + 1))] * 5
    watches[0]._channel.push(epochs(range(newest + 1, newest + 3)))  # type: ignore[union-attr]
    assert [frame.seq for frame in asyncio.run(watches[0].after(newest - 1, 0))] == [newest, newest + 1, newest + 2]  # type: ignore[union-attr]
    for watch in watches:
        assert watch is not None
        watch.leave()


def test_a_ring_takes_only_older_events_that_reach_it() -> None:
    """With a gap, or without room for them, it stays as it is."""
    channel = Channel(100)
    channel.reach_back(0, epochs(range(1, 50)))
    assert channel.after(0) is None
    channel.reach_back(90, epochs(range(91, 103)))
    assert [frame.seq for frame in channel.after(90) or []] == list(range(91, 101))
    long = Channel(RING_LENGTH + 50)
    long.reach_back(0, epochs(range(1, RING_LENGTH + 51)))
    assert long.after(0) is None


def test_a_crowd_of_watchers_is_woken_a_few_at_a_time() -> None:
    """Between two slices of a thousand watchers the loop has a turn for others, whatever jobs they watch."""
    channels = [Channel(0) for _ in range(50)]

    async def work() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        waker, waiting = Waker(loop), [loop.create_future() for _ in range(1000)]
        for n, future in enumerate(waiting):
            assert channels[n % 50].add(waker, future, 0)
        for channel in channels:
            channel.push(epochs(range(1, 2)))
        most, before = 0, 0
        while (woken := sum(future.done() for future in waiting)) < len(waiting):
            most, before = max(most, woken - before), woken
            await asyncio.sleep(0)
        return most, woken

    most, woken = asyncio.run(work())
    assert woken == 1000
    assert most <= WOKEN_AT_ONCE


def test_every_kind_of_event_is_documented(client: FlaskClient) -> None:
    """The API's document names each kind that a watcher may get."""
    document = client.get("/v1/openapi.json").get_json()
    description = document["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]["description"]
    assert [kind for kind in get_args(Kind) if kind not in description] == []


def test_an_epoch_is_not_passed_over_when_the_job_goes_on_between_two_looks(
    succeeded: Callable[..., str], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are read first and events then, which may be more by then: only those of the numbers are counted."""
    job_id = succeeded(training={"epochs": 5})
    with parts.database.reading() as session:
        last = happenings_after(session, job_id, 0, limit=500)[-1].seq
    for newest in range(1, last):
        for number in range(newest + 1, last):
            monkeypatch.setattr("service.live.sequence_numbers", lambda *_, number=number: {job_id: number})
            channel = Channel(newest)
            parts.live._look({job_id: channel})
            got = [frame.seq for frame in channel.after(newest) or []]
            assert got == list(range(newest + 1, newest + 1 + len(got))), (newest, number)
            assert len(got) >= number - newest


def test_a_loop_that_has_ended_leaves_nothing(parts: Parts, succeeded: Callable[..., str]) -> None:
    """A thread that waited for a watch had a loop of its own."""

    async def wait() -> None:
        watch = parts.live.watch(job_id, 10**6)
        assert watch is not None
        await watch.changed(10**6, 0.01)
        watch.leave()

    job_id = succeeded(training={"epochs": 1})
    for _ in range(3):
        asyncio.run(wait())
    gc.collect()
    assert len(parts.live._wakers) == 0
