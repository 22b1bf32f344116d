"""Many watchers on one API process: how late each event is, what it costs, and what it does to predictions."""

import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from sqlalchemy import update

from tests.api_process import KEY, ApiProcess, api_process, watch_request
from tests.benchmarks.load import http_request
from tests.conftest import SPEC
from tests.faults.servers import redis_server
from worker.broker.doorbell import Doorbell
from worker.records.events import write_event
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.tables import Job
from worker.settings import Settings

WATCHERS = int(os.environ.get("GRADMILL_BENCH_WATCHERS", "10000"))
OTHERS = 100
"Half of the watchers are on one job, the others on so many more."
EVENTS, ADDRESSES, AT_ONCE = 15, 16, 200
HEALTH = http_request("GET", "/v2", Authorization=f"Bearer {KEY}")


def watch(port: int, ids: list[str], pipe: Connection) -> None:
    """Watch these jobs in a process of its own; send how late each event was, in seconds."""
    asyncio.run(_watch(port, ids, pipe))


async def _watch(port: int, ids: list[str], pipe: Connection) -> None:
    late: list[float] = []

    async def one(n: int, job_id: str) -> None:
        local = (f"127.0.5.{1 + n % ADDRESSES}", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
        writer.write(watch_request(job_id))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        ready.append(n)
        seen = 0
        while seen < EVENTS:
            line = await reader.readline()
            assert line, f"watcher {n} was dropped after {seen} events"
            if b'"sent_at"' in line:
                late.append(time.time() - json.loads(line)["data"]["sent_at"])
                seen += 1
        writer.close()

    ready: list[int] = []
    async with asyncio.TaskGroup() as group:
        for n, job_id in enumerate(ids):
            group.create_task(one(n, job_id))
            # more would wait for a thread than may
            while len(ready) < n - AT_ONCE:
                await asyncio.sleep(0.01)
        while len(ready) < len(ids):
            await asyncio.sleep(0.1)
        pipe.send(len(ready))
    pipe.send(late)


def announce_events(api: ApiProcess, redis_url: str, ids: list[str]) -> None:
    """Write an event of each job once a second, and announce it."""
    database = Database(api.database_url)
    doorbell = Doorbell(Settings(data_dir=api.log.parent, redis_url=redis_url))
    for _ in range(EVENTS):
        began = time.monotonic()

        def write(session) -> None:  # type: ignore[no-untyped-def]
            for job_id in ids:
                seq = session.scalar(update(Job).where(Job.id == job_id).values(seq=Job.seq + 1).returning(Job.seq))
                known = {"project_id": DEFAULT_PROJECT, "job_id": job_id, "seq": seq, "kind": "elsewhere"}
                write_event(session, **known, payload={"sent_at": time.time()})

        database.write(write)
        for job_id in ids:
            doorbell.announce(job_id)
        time.sleep(max(0.0, 1 - (time.monotonic() - began)))
    doorbell.close()
    database.close()


def asked(port: int, stop: Connection) -> None:
    """Ask for the server's name again and again, in a process of its own; send how long each answer took."""
    asyncio.run(_asked(port, stop))


async def _asked(port: int, pipe: Connection) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    while not pipe.poll():
        began = time.perf_counter()
        writer.write(HEALTH)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    writer.close()
    pipe.send(times)


def _ids(api: ApiProcess) -> Iterator[str]:
    for _ in range(1 + OTHERS):
        yield api.client.post("/v1/jobs", json=SPEC).raise_for_status().json()["id"]


def measure() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, redis_server() as server:
        options = {"GRADMILL_REDIS_URL": server.url, "GRADMILL_ADDRESS_CONNECTIONS_LIMIT": str(WATCHERS)}
        with api_process(Path(folder), **options, GRADMILL_WATCHERS_LIMIT=str(WATCHERS)) as api:
            one, *others = _ids(api)
            process = psutil.Process(api.process.pid)
            rest = process.memory_info().rss
            ids = [one] * (WATCHERS // 2) + [others[n % OTHERS] for n in range(WATCHERS - WATCHERS // 2)]
            ours, theirs = context.Pipe()
            watchers = context.Process(target=watch, args=(api.port, ids, theirs))
            watchers.start()
            # so that its end is noticed
            theirs.close()
            assert ours.recv() == WATCHERS
            open_bytes = process.memory_info().rss - rest
            our_end, their_end = context.Pipe()
            asking = context.Process(target=asked, args=(api.port, their_end))
            asking.start()
            their_end.close()
            before = process.cpu_times()
            announce_events(api, server.url, [one, *others])
            late = sorted(ours.recv())
            after = process.cpu_times()
            our_end.send("stop")
            times = sorted(our_end.recv())
            rss = process.memory_info().rss
            watchers.join()
            asking.join()
    busy = (after.user + after.system - before.user - before.system) / EVENTS
    p50, p99 = statistics.median(late), late[int(len(late) * 0.99)]
    hot_p50, hot_p99 = statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3
    print(
        f"{WATCHERS:,} watchers, half on one job, {EVENTS} events of each: {len(late):,} of {WATCHERS * EVENTS:,} came"
    )
    print(f"  late: p50 {p50:.3f} s, p99 {p99:.3f} s, most {late[-1]:.3f} s; {busy:.2f} s of CPU a second")
    print(f"  {rss / 2**20:.0f} MiB, {rest / 2**20:.0f} before them; {open_bytes / WATCHERS / 1024:.1f} KiB a watcher")
    print(f"  a hot answer meanwhile: p50 {hot_p50:.1f} ms, p99 {hot_p99:.1f} ms")


if __name__ == "__main__":
    measure()
