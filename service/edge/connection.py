"""One connection of the edge: uvicorn's own, with deadlines, and with limits of what comes before a handler is asked.

Nobody holds more than a connection by being slow: a head, a body, a pause and an answer each have their time, and a
client that is behind it is cut off. Source of what is overridden: uvicorn, protocols/http/httptools_impl.py.
"""

import asyncio
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.edge.crowd import Crowd
from service.problems import Problem

HEAD_SECONDS = 10.0
"From the first byte of a request, or from the beginning of a connection, to the end of the head."
BODY_SECONDS, BODY_BYTES = 10.0, 10 * 1024
"In each such time a body must bring so many bytes, unless it is the service that does not read."
FIRST_REQUEST_SECONDS = 0.5
"When the process stops, a connection without a request so far has this time for one."
WRITE_SECONDS = 30.0
"In this time a client must take about 48 KiB of an answer: what is buffered when its writer is paused."
HEAD_BYTES, HEADERS_LIMIT, TARGET_BYTES = 64 * 1024, 100, 16 * 1024
RAW_FACTOR = 8
"A chunked body may be so many times as long as its limit with the lines between its chunks."


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
        self._head_bytes = self._headers_seen = self._body_bytes = 0
        self._refusal: Problem | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    # The beginning and the end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
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
        if self._task is not None and not self.cycle.response_complete:
            # nobody waits for its answer any more
            self._task.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that has sent its request and closes its half of the connection; True: ours stays open."""
        if self._phase is Phase.NOTHING and self._is_answering:
            self.cycle.keep_alive = False
            return True
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
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # Reading, with its deadlines and limits

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.BODY:
            self._body_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._await(Phase.NOTHING)
            return
        if self._phase is Phase.HEAD:
            # a header without an end is not handed on, but takes memory
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(_long_head())
                return
        if self._body_bytes > RAW_FACTOR * self.body_bytes_limit:
            self.transport.abort()
            return
        self._await(self._phase)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = Phase.HEAD
        self._head_bytes = self._headers_seen = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._reject(Problem(414, f"the address has more than {TARGET_BYTES} bytes", code="too_large"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is not Phase.HEAD:
            # a trailer, behind a chunked body, is not a header of the request
            return
        super().on_header(name, value)
        self._headers_seen += 1
        self._head_bytes += len(name) + len(value)
        if self._headers_seen > HEADERS_LIMIT or self._head_bytes > HEAD_BYTES:
            self._reject(_long_head())

    def on_headers_complete(self) -> None:
        self._phase = Phase.BODY
        super().on_headers_complete()
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0
        self._phase = Phase.NOTHING if self._is_answering else Phase.HEAD

    def on_response_complete(self) -> None:
        is_pipelined = bool(self.pipeline)
        super().on_response_complete()
        if self._phase is Phase.NOTHING and not is_pipelined:
            self._phase = Phase.HEAD
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
            return
        if self._head_bytes:
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
        """Answer with a problem document unless an answer has begun, and close the connection."""
        if not self._is_answering or not self.cycle.response_started:
            reply = problem.reply()
            head = [STATUS_LINE[reply.status]]
            known = {"Content-Type": reply.content_type, "Content-Length": len(reply.body), "Connection": "close"}  # type: ignore[arg-type]
            for name, value in (known | reply.headers).items():
                head.append(f"{name}: {value}\r\n".encode("latin-1"))
            self.transport.write(b"".join([*head, b"\r\n", reply.body]))  # type: ignore[list-item]
        self.transport.close()
        self._set_write_deadline()

    def _unsupported_upgrade_warning(self) -> None:
        # the parser reads nothing behind such a request
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


def _long_head() -> Problem:
    return Problem(431, f"the head has more than {HEADERS_LIMIT} headers or {HEAD_BYTES} bytes", code="too_large")
