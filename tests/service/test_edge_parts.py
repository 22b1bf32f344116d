"""The parts of the edge: what stays in its loop, what leaves it, and what is read of a request before it is known."""

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs

from service.app import create_app
from service.context import EXTENSION, Parts
from service.edge.application import Edge
from service.edge.crowd import Crowd
from service.edge.sending import SLICE_BYTES, send_answer
from service.edge.threads import LongAnswer, Threads
from service.loop import leave_loop, within_loop
from service.problems import Problem
from service.settings import ServiceSettings
from tests.conftest import SPEC
from tests.service.conftest import KEY
from tests.service.test_sessions import cookie_of, log_in
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.transitions import change_status

BEARER = [(b"authorization", b"Bearer " + KEY.encode())]
JSON = [(b"content-type", b"application/json")]
ROW = json.dumps({"rows": [[5.1, 3.5, 1.4, 0.2]]}).encode()


class Client:
    """Sends requests to the edge as a server would, in one loop. reads: how many parts of a body were asked for."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.reads = 0

    async def ask(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: tuple[bytes, ...] = (b"",)
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer. body: in the parts in which it comes."""
        parts, sent = iter(body), []

        async def receive() -> dict[str, Any]:
            self.reads += 1
            part = next(parts, None)
            if part is None:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": part, "more_body": self.reads < len(body)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        path, _, query = path.partition("?")
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
        scope |= {"query_string": query.encode(), "http_version": "1.1", "headers": [(b"host", b"localhost"), *headers]}
        await self._edge(scope | {"server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def work_of_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which threads were asked for, in order."""
    asked: list[str] = []
    usual = Threads.run

    async def run(self: Threads, work: Callable[[], Any], *more: Any, **known: Any) -> Any:
        asked.append(self._pool._thread_name_prefix)
        return await usual(self, work, *more, **known)

    monkeypatch.setattr(Threads, "run", run)
    return asked


def test_what_is_known_is_answered_in_the_loop(
    app: Flask, parts: Parts, succeeded: Callable[..., str], work_of_threads: list[str]
) -> None:
    """The first prediction reads the database, by a thread; the next needs none, nor do health checks and refusals."""
    succeeded(model="iris")
    client = Client(Edge(app))
    path = "/v1/models/iris/predict"

    async def work() -> None:
        first = await client.ask("POST", path, BEARER + JSON, (ROW,))
        assert work_of_threads == ["hot"]
        parts.predictors._named.expire = lambda *_: []  # type: ignore[assignment]
        client.reads = 0
        assert await client.ask("POST", path, BEARER + JSON, (ROW,)) == first
        for method, place, body in (("GET", "/healthz", b""), ("GET", "/v2", b""), ("POST", path, b"{")):
            client.reads = 0
            await client.ask(method, place, BEARER + JSON, (body,))
        assert work_of_threads == ["hot"]
        client.reads = 0
        assert (await client.ask("GET", "/v1/models", BEARER))[0] == 200
        assert work_of_threads == ["hot", "flask"]

    asyncio.run(work())


def test_many_rows_leave_the_loop(
    app: Flask, parts: Parts, succeeded: Callable[..., str], work_of_threads: list[str]
) -> None:
    """A prediction that would hold up others is computed by a thread, though nothing of it blocks."""
    succeeded(model="iris")
    client = Client(Edge(app))
    rows = json.dumps({"rows": [[5.1, 3.5, 1.4, 0.2]] * 300}).encode()
    assert len(rows) < 2**16

    async def work() -> None:
        for content in (ROW, rows):
            client.reads = 0
            status, _ = await client.ask("POST", "/v1/models/iris/predict", BEARER + JSON, (content,))
            assert status == 200
        assert work_of_threads == ["hot", "hot"]

    asyncio.run(work())


def test_a_compressed_body_leaves_the_loop(
    app: Flask, parts: Parts, succeeded: Callable[..., str], work_of_threads: list[str]
) -> None:
    """Sixty KiB of it may be many megabytes."""
    succeeded(model="iris")
    client = Client(Edge(app))
    tensor = {"name": "rows", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}
    body = gzip.compress(json.dumps({"inputs": [tensor]}).encode())

    async def work() -> None:
        for headers, content in ((JSON, gzip.decompress(body)), ([*JSON, (b"content-encoding", b"gzip")], body)):
            client.reads = 0
            status, answer = await client.ask("POST", "/v2/models/iris/infer", [*BEARER, *headers], (content,))
            assert status == 200, answer
        assert work_of_threads == ["hot", "hot"]

    asyncio.run(work())


def test_a_long_answer_is_sent_in_slices() -> None:
    """A slow client has time for each slice, and gets every byte."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def stream() -> AsyncIterator[bytes]:
        yield b"s" * 100_000

    async def advance(parts: Iterator[bytes]) -> bytes | None:
        return next(parts, None)

    for body in (b"s" * 200_000, iter([b"s" * 100_000] * 2), stream()):
        sent.clear()
        asyncio.run(send_answer(send, 200, [], body, advance))
        lengths = [len(message["body"]) for message in sent[1:]]
        assert max(lengths) == SLICE_BYTES
        assert sum(lengths) in (100_000, 200_000)
        assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(lengths) - 1) + [False]


def test_what_an_answer_is_made_of_is_closed_when_no_thread_makes_it() -> None:
    """Though the client has gone while a part was made; a generator that runs can't be closed."""
    pool, go = Threads(2, "two"), threading.Event()
    seen: list[str] = []

    def parts() -> Iterator[bytes]:
        try:
            go.wait()
            yield b"x"
        finally:
            seen.append("closed")

    async def work() -> None:
        answer, made = LongAnswer(pool), parts()
        making = asyncio.ensure_future(answer.advance(made))
        await asyncio.sleep(0.05)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        answer.close(made.close)
        assert seen == []
        go.set()
        await asyncio.sleep(0.1)

    asyncio.run(work())
    assert seen == ["closed"]


@pytest.mark.parametrize(("known", "most"), [(False, 3), (True, 10)])
def test_of_a_stranger_no_large_body_is_read(app: Flask, parts: Parts, known: bool, most: int) -> None:
    """Sixteen KiB and a part; a caller with a key sends as much as the limit allows."""
    client = Client(Edge(app))
    body = (b"x" * 8192,) * 10
    headers = [*(BEARER if known else []), (b"transfer-encoding", b"chunked"), (b"content-type", b"text/csv")]
    status, _ = asyncio.run(client.ask("POST", "/v1/datasets", headers, body))
    assert status == (422 if known else 401)
    assert client.reads == most


def test_a_body_past_the_limit_is_not_read_at_all(app: Flask, parts: Parts, succeeded: Callable[..., str]) -> None:
    """Its length says so beforehand."""
    succeeded(model="iris")
    client = Client(Edge(app))
    headers = [*BEARER, *JSON, (b"content-length", b"99999999999")]
    for path in ("/v1/models/iris/predict", "/v1/jobs"):
        status, content = asyncio.run(client.ask("POST", path, headers, (b"x",) * 10))
        assert (status, json.loads(content)["code"]) == (413, "too_large")
    # nor is one that nobody will look at
    assert asyncio.run(client.ask("GET", "/healthz", [(b"content-length", b"1000000")], (b"x",) * 10))[0] == 200
    assert client.reads == 0


def test_each_request_is_a_line_of_the_log_if_that_is_wanted(settings: ServiceSettings) -> None:
    """On both paths, with its status and time, and without its query."""
    app = create_app(settings.model_copy(update={"access_log": True}))
    parts: Parts = app.extensions[EXTENSION]
    client = Client(Edge(app))
    with capture_logs() as lines:
        for path in ("/healthz?secret=1", "/ui/login?token=secret", "/nowhere"):
            client.reads = 0
            asyncio.run(client.ask("GET", path, []))
    found = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["path"], line["status"]) for line in found] == [
        ("GET", "/healthz", 200),
        ("GET", "/ui/login", 401),
        ("GET", "/nowhere", 401),
    ]
    assert all(line["ms"] > 0 for line in found)
    assert "secret" not in str(found)
    parts.database.close()


def test_no_thread_waits_for_a_job_that_a_browser_watches(
    settings: ServiceSettings,
) -> None:
    """With one thread for Flask, a long poll by cookie waits in the loop, and ends with the answer of its own."""
    app = create_app(settings.model_copy(update={"api_threads": 1}))
    parts: Parts = app.extensions[EXTENSION]
    page = app.test_client()
    log_in(page)
    job_id = page.post("/v1/jobs", json=SPEC, headers={"Authorization": f"Bearer {KEY}"}).get_json()["id"]
    cookie = f"gradmill_session={cookie_of(page)}"
    browser = [(b"cookie", cookie.encode()), (b"prefer", b"wait=20"), (b"x-request-id", b"mine")]

    async def work() -> None:
        client, other = Client(Edge(app)), Client(Edge(app))
        other._edge = client._edge
        # an answer to HEAD has no body to wait in
        headers = await asyncio.wait_for(other.ask("HEAD", f"/v1/jobs/{job_id}", browser), 5)
        assert headers == (200, b"")
        poll = asyncio.ensure_future(client.ask("GET", f"/v1/jobs/{job_id}", browser))
        await asyncio.sleep(0.3)
        assert (await asyncio.wait_for(other.ask("GET", "/v1/models", BEARER), 5))[0] == 200
        assert not poll.done()
        parts.database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, "cancel"))
        status, content = await asyncio.wait_for(poll, 10)
        assert (status, json.loads(content)["status"]) == (200, "cancelled")

    asyncio.run(work())
    parts.live.close()
    parts.live.join()
    assert parts.live._watchers == 0


def test_a_crowd_counts_each_address_and_all() -> None:
    """Whoever leaves makes room for the same address, and for all."""
    crowd = Crowd(3, 2)
    assert [crowd.enter(address) for address in "aaabc"] == [True, True, False, True, False]
    crowd.leave("a")
    assert [crowd.enter(address) for address in "ca"] == [True, False]


def test_nothing_leaves_a_thread() -> None:
    """What may block is done in a thread, and only there."""
    assert within_loop(lambda: leave_loop() or 1) is None  # type: ignore[func-returns-value]
    assert within_loop(lambda: 1) == 1
    leave_loop()


def test_past_its_line_work_is_refused() -> None:
    """503, and there is room again when the work is done."""
    pool, go = Threads(1, "few", waiting_limit=1), threading.Event()

    async def work() -> None:
        begun = [asyncio.ensure_future(pool.run(go.wait)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as refused:
            await pool.run(go.wait)
        assert refused.value.status == 503
        # but an answer that has begun goes on
        begun.append(asyncio.ensure_future(pool.run(go.wait, has_begun=True)))
        await asyncio.sleep(0.05)
        go.set()
        assert await asyncio.gather(*begun) == [True] * 3
        await asyncio.sleep(0.05)
        assert await pool.run(go.wait)

    asyncio.run(work())


def test_the_result_of_a_client_that_is_gone_is_discarded() -> None:
    """Work that has begun ends, and its result is handed over to be closed; work that waits is not begun."""
    pool, go = Threads(1, "one"), threading.Event()
    discarded: list[int] = []
    begun: list[int] = []

    def first() -> int:
        begun.append(1)
        go.wait()
        return 1

    def second() -> int:
        begun.append(2)
        return 2

    async def work() -> None:
        tasks = [asyncio.ensure_future(pool.run(each, discard=discarded.append)) for each in (first, second)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        go.set()
        await asyncio.sleep(0.1)

    asyncio.run(work())
    assert (begun, discarded) == ([1], [1])


@pytest.mark.parametrize(("second", "status"), [("2001:db8::2", 503), ("2001:db8:0:1::2", 200), ("203.0.113.9", 200)])
def test_behind_a_proxy_the_client_that_it_names_is_counted(
    settings: ServiceSettings, second: str, status: int
) -> None:
    """The addresses of one IPv6 network are one client's, who may choose any of them."""
    app = create_app(settings.model_copy(update={"proxies": 1, "address_connections_limit": 1}))
    parts: Parts = app.extensions[EXTENSION]
    edge = Edge(app)

    async def work() -> int:
        # its body does not come
        waiting = [*BEARER, (b"content-type", b"text/csv"), (b"x-forwarded-for", b"2001:db8::1")]
        first = asyncio.ensure_future(Client(edge).ask("POST", "/v1/datasets", waiting, ()))
        await asyncio.sleep(0.05)
        answered, _ = await Client(edge).ask("GET", "/healthz", [(b"x-forwarded-for", f"9.9.9.9, {second}".encode())])
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return answered

    assert asyncio.run(work()) == status
    parts.database.close()
