"""One connection of the edge: uvicorn's own, with deadlines, and with limits of what comes before a handler is asked.

Nobody holds more than a connection by being slow: a head, a body, a pause and an answer each have their time, and a
client that is behind it is cut off. Source of what is overridden: uvicorn, protocols/http/httptools_impl.py.
"""

import asyncio
import re
from contextvars import Context
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.edge.crowd import Crowd
from service.edge.joined_writes import JoinedWrites
from service.failed_keys import network_of
from service.problems import Problem

HEAD_SECONDS = 10.0
"From the first byte of a request, or from the beginning of a connection, to the end of the head."
BODY_SECONDS, BODY_BYTES = 10.0, 10 * 1024
"A body must bring this many bytes in each period of this length, unless the service itself is not reading."
FIRST_REQUEST_SECONDS = 0.5
"When the process stops, a connection without a request so far has this time for one."
WRITE_SECONDS = 30.0
"In this time a client must take about 48 KiB of an answer: what is buffered when its writer is paused."
HEAD_BYTES, HEADERS_LIMIT, TARGET_BYTES = 64 * 1024, 100, 16 * 1024
PIPELINED_LIMIT = 8
"So many requests may wait on one connection for the answer of one before them."
CHUNKS_FREE, CHUNK_BYTES = 4096, 8
"After CHUNKS_FREE chunks, those of a body must average CHUNK_BYTES: a chunk of one byte costs as much as a long one."
CHUNKS_AT_ONCE = 256
"Behind a read with more chunks than this others have a turn, before libuv reads up to 31 times more."
BYTES_AFTER_ANSWER = 16 * 2**20
"So much of a body may still come when it is answered already: a client may read the answer when it has sent all."
RAW_FACTOR = 8
"How many times its limit a chunked body may take on the wire, with the lines between its chunks."


BODY_HEADERS = (b"content-length", b"transfer-encoding")
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Phase(Enum):
    """What the client is to send next: a head, a body, or, while it waits for an answer, nothing."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


class Connection(HttpToolsProtocol):
    """A connection of a process. `limit_all` sets what all of them have in common."""

    crowd = Crowd(2**62, 2**62)
    body_bytes_limit = 2**62

    @classmethod
    def limit_all(cls, crowd: Crowd, body_bytes_limit: int) -> None:
        """Set how many connections there may be, and how long a body."""
        cls.crowd, cls.body_bytes_limit = crowd, body_bytes_limit

    def __init__(self, *arguments: Any, **known: Any) -> None:
        super().__init__(*arguments, **known)
        self._phase = Phase.HEAD
        self._awaited: Phase = Phase.NOTHING
        self._read_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._address: str | None = None
        self._head_bytes = self._body_bytes = self._read_bytes = 0
        # since the last byte of a body: the lines between chunks, and trailers
        self._bytes_beside = 0
        self._chunks = self._content_bytes = 0
        self._refusal: Problem | None = None
        self._answered: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    # The beginning and the end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = network_of(self.client[0] if self.client else None)
        if self.crowd.enter(address):
            self._address = address
            self._await(Phase.HEAD)
        else:
            self._refuse(Problem(503, "too many connections", code="busy", headers={"Retry-After": "2"}))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None:
            self.crowd.leave(self._address)
            self._address = None
        self._await(Phase.NOTHING)
        self._cancel_write_deadline()
        super().connection_lost(exc)
        if self._answered is not None and self._task is not None and not self._answered.response_complete:
            # nobody waits for its answer any more
            self._answered.disconnected = True
            self._task.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that has sent its request and closes its half of the connection; True: ours stays open."""
        answered = self._answered
        if self._phase is Phase.NOTHING and answered is not None and self._is_answering:
            answered.keep_alive = False
            # a client that closes while an answer is being sent has gone
            return not answered.response_started
        if self._phase is Phase.BODY or self._head_bytes:
            self._refuse(Problem(400, "the request ended early"))
        return False

    def shutdown(self) -> None:
        """Close the connection when it has nothing under way. One that has just been opened may bring its request."""
        self._is_stopping = True
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        cycle.transport = JoinedWrites(cycle, self.loop)  # type: ignore[assignment]
        # a context of its own: nothing of the request before it is seen here, or kept by this connection
        self._task = self.loop.create_task(cycle.run_asgi(app), context=Context())
        self._task.add_done_callback(self._end_task)
        self.tasks.add(self._task)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self._task is task:
            self._task = None

    @property
    def _is_answering(self) -> bool:
        return self._answered is not None and not self._answered.response_complete

    # Reading, with its deadlines and limits

    def data_received(self, data: bytes) -> None:
        self._read_bytes, chunks = len(data), self._chunks
        if self._phase is Phase.BODY:
            self._body_bytes += len(data)
            self._bytes_beside += len(data)
        elif self._phase is Phase.HEAD and not self._head_bytes:
            data = _without_upgrade(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._await(Phase.NOTHING)
            return
        if self._phase is Phase.HEAD:
            # a header without an end is not handed on, but takes memory
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES or len(self.headers or ()) > HEADERS_LIMIT:
                self._refuse(_long_head())
                return
        most = BYTES_AFTER_ANSWER if self._answered is not None and self._answered.response_complete else HEAD_BYTES
        is_endless = self._phase is Phase.BODY and self._bytes_beside > most
        if is_endless or self._body_bytes > RAW_FACTOR * self.body_bytes_limit:
            self.transport.abort()
            return
        if self._chunks - chunks > CHUNKS_AT_ONCE and not self.flow.read_paused:
            self.flow.pause_reading()
            self.loop.call_soon(self._read_on)
        self._await(self._phase)

    def _read_on(self) -> None:
        """Read again, unless a handler has not taken yet what was read."""
        if not self.pipeline and len(self.cycle.body) <= HIGH_WATER_LIMIT and not self.transport.is_closing():
            self.flow.resume_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # a message has its own deadlines, though the one before it may have ended in the same read
        self._await(Phase.NOTHING)
        self._phase = Phase.HEAD
        self._head_bytes = self._body_bytes = self._bytes_beside = 0
        self._chunks = self._content_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._reject(Problem(414, f"the address has more than {TARGET_BYTES} bytes", code="too_large"))

    def on_headers_complete(self) -> None:
        # what was read at once may be longer than the head alone
        may_be_long = self._head_bytes + self._read_bytes > HEAD_BYTES
        if len(self.headers) > HEADERS_LIMIT or (may_be_long and _size(self.headers) > HEAD_BYTES):
            self._reject(_long_head())
        if len(self.pipeline) >= PIPELINED_LIMIT:
            self._reject(Problem(400, f"more than {PIPELINED_LIMIT} requests wait for their answers"))
        if self.parser.should_upgrade() and any(name in BODY_HEADERS and value != b"0" for name, value in self.headers):
            # the parser would not read it
            self._reject(Problem(400, "a request with a body can't ask for another protocol"))
        self._await(Phase.NOTHING)
        self._phase = Phase.BODY
        super().on_headers_complete()
        # a trailer, behind a chunked body, is not a header of the request
        self.headers = []
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._chunks += 1
        self._content_bytes += len(body)
        if self._chunks > CHUNKS_FREE and self._content_bytes < CHUNK_BYTES * self._chunks:
            self._reject(Problem(400, f"the body has more than {CHUNKS_FREE} chunks of few bytes"))
        if not self.cycle.response_complete:
            self._bytes_beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0
        # an idle connection keeps no trailers
        self.headers = []
        self._phase = Phase.NOTHING if self._is_answering else Phase.HEAD

    def on_response_complete(self) -> None:
        is_pipelined = bool(self.pipeline)
        super().on_response_complete()
        if self._phase is Phase.NOTHING and not is_pipelined:
            self._phase = Phase.HEAD
        if self.pipeline:
            # what is read already is answered first
            self.flow.pause_reading()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._set_write_deadline()

    def _await(self, phase: Phase) -> None:
        """Set the deadline of what the client is to send; one that is set already stays as it is."""
        if phase is self._awaited:
            return
        if self._read_deadline is not None:
            self._read_deadline.cancel()
            self._read_deadline = None
        self._awaited = phase
        if phase is Phase.HEAD:
            self._read_deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
        elif phase is Phase.BODY:
            self._read_deadline = self.loop.call_later(BODY_SECONDS, self._check_body, self._body_bytes)

    def _head_is_late(self) -> None:
        if self._is_answering:
            self._read_deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
        elif self._head_bytes:
            self._refuse(Problem(408, f"the head of the request was not whole after {HEAD_SECONDS:g} s"))
        else:
            self.transport.close()

    def _check_body(self, before: int) -> None:
        if self.flow.read_paused or self._body_bytes - before >= BODY_BYTES:
            self._read_deadline = self.loop.call_later(BODY_SECONDS, self._check_body, self._body_bytes)
        else:
            self._refuse(Problem(408, f"the body came with less than {BODY_BYTES} bytes in {BODY_SECONDS:g} s"))

    # Refusals

    def _reject(self, problem: Problem) -> None:
        """Stop the parser, from within one of its calls: it raises, and `send_400_response` is called."""
        self._refusal = problem
        raise ValueError(problem.detail)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Problem(400, "this is not HTTP: " + msg.lower()))

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem document unless an answer has begun, and close the connection.

        What comes behind a request that is under way costs that request nothing: its answer is the last.
        """
        is_behind = self._phase is not Phase.BODY or self.cycle is not self._answered
        if self._answered is not None and self._is_answering and is_behind:
            self._answered.keep_alive = False
            self.flow.pause_reading()
            return
        if self._answered is None or self._answered.response_complete or not self._answered.response_started:
            reply = problem.reply()
            head = [STATUS_LINE[reply.status]]
            known = {"Content-Type": reply.content_type, "Content-Length": len(reply.body), "Connection": "close"}  # type: ignore[arg-type]
            for name, value in (known | reply.headers).items():
                head.append(f"{name}: {value}\r\n".encode("latin-1"))
            self.transport.write(b"".join([*head, b"\r\n", reply.body]))  # type: ignore[list-item]
        self.transport.close()
        self._set_write_deadline()

    def _unsupported_upgrade_warning(self) -> None:
        # the parser does not read the body of such a request
        if self.cycle is not None:
            self.cycle.keep_alive = False

    # Writing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_write_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._cancel_write_deadline()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _set_write_deadline(self) -> None:
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None


def _without_upgrade(data: bytes) -> bytes:
    """Return the beginning of a request without its Upgrade header, which is ignored: RFC 9110, section 7.8.

    The parser would take the body for the other protocol. Java's client sends the header with its first request.
    """
    end = data.find(b"\r\n\r\n")
    # behind the head may come much of a body, which is not searched
    head = data if end < 0 else data[:end]
    if b"pgrade:" not in head and b"PGRADE:" not in head:
        return data
    return UPGRADE.sub(b"\r\nX-Upgrade:", head) + data[len(head) :]


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _long_head() -> Problem:
    return Problem(431, f"the head has more than {HEADERS_LIMIT} headers or {HEAD_BYTES} bytes", code="too_large")
