"""One connection of the edge on a real socket: how its answers are written, and what it keeps of what it reads."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from service.edge import connection as limits
from service.edge.connection import BYTES_AFTER_ANSWER, CHUNKS_FREE, HEADERS_LIMIT, Connection

Send = Callable[[dict[str, Any]], Awaitable[None]]
REQUEST = b"%b / HTTP/1.1\r\nHost: a\r\n%b\r\n"
TURNS = 6
"After so few turns of the loop an answer is sent."


async def answering(_scope: Any, receive: Any, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Served:
    """A server in this loop. connections: those that it has had."""

    def __init__(self, app: Any = answering) -> None:
        self.connections: list[Connection] = []
        self._app = app

    async def __aenter__(self) -> "Served":
        configuration = uvicorn.Config(self._app, ws="none", lifespan="off", log_config=None, server_header=False)
        configuration.load()
        state = ServerState()

        def connection() -> Connection:
            made = Connection(config=configuration, server_state=state, app_state={})
            self.connections.append(made)
            return made

        self._server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        # a test that fails must not wait for its own connections
        for connection in self.connections:
            connection.transport.abort()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._server.sockets[0].getsockname())


def test_an_answer_to_head_arrives_whenever_the_client_closes_its_half() -> None:
    """Behind its head nothing comes, so it must not wait for that."""

    async def work() -> set[bytes]:
        async with Served() as served:
            answers = set()
            for n in range(20 * TURNS):
                reader, writer = await served.connect()
                writer.write(REQUEST % (b"HEAD", b""))
                for _ in range(n % TURNS):
                    await asyncio.sleep(0)
                writer.write_eof()
                answers.add((await asyncio.wait_for(reader.read(), 5))[:15])
                writer.close()
            return answers

    assert uvloop.run(work()) == {b"HTTP/1.1 200 OK"}


def test_a_short_answer_is_one_write_and_a_streams_head_does_not_wait() -> None:
    """Each write is a system call, a packet and a turn of the client's."""
    go = asyncio.Event()

    async def streaming(scope: Any, receive: Any, send: Send) -> None:
        if scope["method"] == "POST":
            await answering(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async def work() -> None:
        async with Served(streaming) as served:
            reader, writer = await served.connect()
            await asyncio.sleep(0.05)
            (connection,) = served.connections
            written: list[bytes] = []

            class Counting:
                def __getattr__(self, name: str) -> Any:
                    return getattr(transport, name)

                def write(self, data: bytes) -> None:
                    written.append(data)
                    transport.write(data)

            transport = connection.transport
            connection.transport = Counting()  # type: ignore[assignment]
            writer.write(REQUEST % (b"POST", b"Content-Length: 2\r\nExpect: 100-continue\r\n"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"{}")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            assert [part[:12] for part in written] == [b"HTTP/1.1 100", b"HTTP/1.1 200"]
            writer.write(REQUEST % (b"GET", b""))
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200 ")
            go.set()
            assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"4\r\nlate")
            writer.close()

    uvloop.run(work())


def test_neither_trailers_nor_the_headers_of_a_head_without_an_end_are_kept() -> None:
    """A header takes more memory than it has bytes, and an idle connection costs its client nothing."""

    async def work() -> None:
        async with Served() as served:
            reader, writer = await served.connect()
            writer.write(
                REQUEST % (b"POST", b"Transfer-Encoding: chunked\r\n") + b"0\r\n" + b"ab:c\r\n" * 1000 + b"\r\n"
            )
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            assert served.connections[0].headers == []
            writer.close()
            reader, writer = await served.connect()
            writer.write(b"GET / HTTP/1.1\r\n" + b"ab:c\r\n" * (HEADERS_LIMIT + 2))
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 431 ")
            writer.close()

    uvloop.run(work())


def test_only_the_head_loses_an_upgrade() -> None:
    """A body that comes with its head is not changed, whatever it contains; the parser reads it in spite of Upgrade."""
    text = b"a\r\nUpgrade: b\r\n\r\nc\r\nupgrade: d" * 100

    async def echoing(scope: Any, receive: Any, send: Send) -> None:
        body = b""
        while (message := await receive())["more_body"]:
            body += message["body"]
        body += message["body"]
        length = b"%d" % len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def work(beside: bytes) -> bytes:
        async with Served(echoing) as served:
            reader, writer = await served.connect()
            writer.write(REQUEST % (b"POST", beside + b"Content-Length: %d\r\n" % len(text)) + text)
            await reader.readuntil(b"\r\n\r\n")
            answer = await asyncio.wait_for(reader.readexactly(len(text)), 5)
            writer.close()
            return answer

    assert uvloop.run(work(b"")) == text
    assert uvloop.run(work(b"Connection: Upgrade\r\nUpgrade: h2c\r\n")) == text


CHUNKED = REQUEST % (b"POST", b"Transfer-Encoding: chunked\r\n")
ONE = b"1\r\na\r\n"


def test_a_body_of_tiny_chunks_is_refused_and_others_have_their_turn() -> None:
    """Each chunk costs as much as a long one. Between two reads of many of them the loop serves others."""

    async def reading(_scope: Any, receive: Any, send: Send) -> None:
        while (message := await receive())["more_body"]:
            pass

        async def last() -> Any:
            return message

        await answering(_scope, last, send)

    async def work() -> None:
        async with Served(reading) as served:
            reader, writer = await served.connect()
            writer.write(CHUNKED + ONE * CHUNKS_FREE + b"0\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 5)).startswith(b"HTTP/1.1 200 ")
            writer.close()
            reader, writer = await served.connect()
            writer.write(CHUNKED + ONE * (CHUNKS_FREE + 1))
            assert (await asyncio.wait_for(reader.readuntil(b"few bytes"), 5)).startswith(b"HTTP/1.1 400 ")
            writer.close()
            reader, writer = await served.connect()
            writer.write(CHUNKED + (b"10\r\n" + b"a" * 16 + b"\r\n") * 10_000 + b"0\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 5)).startswith(b"HTTP/1.1 200 ")
            writer.close()

    paused: list[int] = []
    usual = limits.Connection._read_on

    def counted(self: Connection) -> None:
        paused.append(self._chunks)
        usual(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits.Connection, "_read_on", counted)
        uvloop.run(work())
    assert paused


def test_a_body_that_is_answered_already_is_not_read_for_ever() -> None:
    """A refused upload may go on for a while, so that its client finds the answer; then it is cut off."""

    async def refusing(_scope: Any, _receive: Any, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def work() -> int:
        async with Served(refusing) as served:
            reader, writer = await served.connect()
            writer.write(REQUEST % (b"POST", b"Content-Length: 1000000000\r\n"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
            sent = 0
            try:
                while sent < 2 * BYTES_AFTER_ANSWER:
                    writer.write(b"a" * 2**18)
                    await writer.drain()
                    sent += 2**18
            except ConnectionError:
                writer.close()
            return sent

    # what the system's buffers hold is sent too
    assert BYTES_AFTER_ANSWER / 2 < uvloop.run(work()) < 2 * BYTES_AFTER_ANSWER


@pytest.mark.parametrize(
    "behind", [CHUNKED + b"zz\r\n", b"GARBAGE\r\n\r\n", REQUEST % (b"POST", b"Content-Length: x\r\n")]
)
@pytest.mark.parametrize("at_once", [True, False])
def test_what_comes_behind_a_request_costs_it_nothing(behind: bytes, *, at_once: bool) -> None:
    """It has its own answer, which is the last, whatever is wrong with the next."""
    go = asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Send) -> None:
        await go.wait()
        await answering(scope, receive, send)

    async def work() -> bytes:
        async with Served(waiting) as served:
            reader, writer = await served.connect()
            first = REQUEST % (b"POST", b"Content-Length: 2\r\n") + b"{}"
            writer.write(first + behind if at_once else first)
            await asyncio.sleep(0.05)
            if not at_once:
                writer.write(behind)
                await asyncio.sleep(0.05)
            go.set()
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer

    answer = uvloop.run(work())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "request_", [REQUEST % (b"GET", b""), REQUEST % (b"POST", b"Content-Length: 20\r\n") + b"a" * 20]
)
def test_each_message_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """A client whose packets have the end of a request and the beginning of the next is prompt as long as it likes."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.4)

    async def work() -> list[bytes]:
        async with Served() as served:
            reader, writer = await served.connect()
            cut = len(request_) - 5
            writer.write(request_[:cut])
            answers = []
            for _ in range(12):
                await asyncio.sleep(0.1)
                writer.write(request_[cut:] + request_[:cut])
                answers.append((await asyncio.wait_for(reader.readuntil(b"ok"), 5))[:13])
            writer.close()
            return answers

    assert set(uvloop.run(work())) == {b"HTTP/1.1 200 "}


def test_an_upgrade_whose_body_would_not_be_read_is_refused() -> None:
    """The parser stops at the end of such a head, and the body would be read as empty."""

    async def work(beside: bytes, cut: int) -> bytes:
        async with Served() as served:
            reader, writer = await served.connect()
            head = REQUEST % (b"POST", b"Connection: Upgrade\r\nUpGrAdE: h2c\r\n" + beside)
            writer.write(head[:cut])
            await asyncio.sleep(0.05)
            writer.write(head[cut:] + b"2\r\n{}\r\n0\r\n\r\n")
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
            writer.close()
            return answer[:12]

    assert uvloop.run(work(b"Transfer-Encoding: chunked\r\n", 20)) == b"HTTP/1.1 400"
    assert uvloop.run(work(b"Content-Length: 2\r\n", 20)) == b"HTTP/1.1 400"


def test_a_head_has_its_time_from_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the connection was idle before."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)

    async def work() -> bytes:
        async with Served() as served:
            reader, writer = await served.connect()
            await asyncio.sleep(0.35)
            head = REQUEST % (b"GET", b"")
            writer.write(head[:10])
            await asyncio.sleep(0.35)
            writer.write(head[10:])
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
            writer.close()
            return answer[:12]

    assert uvloop.run(work()) == b"HTTP/1.1 200"
