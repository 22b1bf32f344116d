"""Answers hot operations without Flask: in the loop if that takes a moment, else by a thread."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import structlog

from service.access import OPEN, key_holder
from service.app import ERROR_FORMATS
from service.body_stream import too_large
from service.context import Parts
from service.edge.bodies import Receive, read_body
from service.edge.routes import Found, Routes
from service.edge.sending import ReplyHeaders, Send, send_answer
from service.edge.threads import LongAnswer, Threads
from service.hosts import is_answered
from service.loop import within_loop
from service.operations import Operation, carry_out
from service.problems import Problem, error_reply
from service.reply import Reply
from service.request import Principal, Request, begin
from service.waiting import Waiting

LOOP_BODY_BYTES = 64 * 1024
"A larger body is parsed by a thread."
HOT_WAITING_LIMIT = 4096
"Every watcher comes back at the same moment when the service begins again, and each begins with a look at SQL."
Work = Callable[[], Reply | Waiting]


class Hot(NamedTuple):
    """A request that needs no Flask. principal: the caller; None if the operation is open to everyone."""

    found: Found
    principal: Principal | None


class HotOperations:
    """The hot operations of one process."""

    def __init__(self, parts: Parts, operations: Iterable[Operation]) -> None:
        self._parts, self._settings = parts, parts.settings
        self._routes = Routes(operations)
        self._threads = Threads(self._settings.hot_threads, "hot", waiting_limit=HOT_WAITING_LIMIT)
        self._reply_headers = ReplyHeaders(self._settings)
        names = self._settings.hosts
        self._is_answered = lru_cache(64)(lambda host: is_answered(host, names))

    def find(self, scope: Mapping[str, Any], headers: Mapping[str, str]) -> Hot | None:
        """Return the request if its operation is hot and the caller may use it; None if Flask is to answer it."""
        if b"%" in scope["raw_path"] or not self._is_answered(headers.get("host")):
            return None
        found = self._routes.find(scope["method"], scope["path"])
        if found is None or (self._settings.cors_origins and "origin" in headers):
            return None
        if int(headers.get("content-length", 0)) > self._settings.body_bytes_limit:
            return None
        if found.operation.policy == OPEN:
            return Hot(found, None)
        principal = key_holder(self._settings, headers.get("authorization", ""))
        allowed = principal is not None and found.operation.policy in principal.scopes
        return Hot(found, principal) if allowed else None

    async def answer(
        self, hot: Hot, scope: Mapping[str, Any], headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        """Read the body, and send the answer. Raises GoneError."""
        # what takes no body reads none: a stranger may ask for the health with 100 MB
        takes_body = bool(hot.found.operation.bodies)
        body = await read_body(receive, self._settings.body_bytes_limit) if takes_body else b""
        request = Request(
            scope["method"],
            scope["path"],
            scope["query_string"],
            headers,
            arguments=hot.found.arguments,
            read=partial(_whole, body, self._settings.body_bytes_limit),
            parts=self._parts,
        )
        request.principal = hot.principal
        begin(request)
        structlog.contextvars.bind_contextvars(request_id=request.id)
        work = partial(_reply, request, partial(carry_out, hot.found.operation))
        reply = within_loop(work) if body is not None and len(body) <= LOOP_BODY_BYTES else None
        if reply is None:
            reply = await self._by_thread(request, work)
        if isinstance(reply, Waiting):
            await reply.over()
            reply = await self._by_thread(request, partial(_reply, request, reply.then))
        assert isinstance(reply, Reply)  # noqa: S101 - what waits does so once
        request.release()
        del body, work
        sent = self._reply_headers.of(reply, request.method, request.id)
        long_answer = LongAnswer(self._threads)
        try:
            await send_answer(send, reply.status, sent, reply.body, long_answer.advance)
        finally:
            if reply.close is not None:
                long_answer.close(reply.close)

    async def _by_thread(self, request: Request, work: Work) -> Reply | Waiting:
        try:
            return await self._threads.run(work, discard=_close)
        except Problem as busy:
            return error_reply(busy, request.path, ERROR_FORMATS)


def _whole(body: bytes | None, limit: int) -> bytes:
    if body is None:
        raise too_large(limit)
    return body


def _close(late: Reply | Waiting) -> None:
    """Give back what an answer holds that nobody waits for any more."""
    if isinstance(late, Waiting):
        late.watch.leave()
    elif late.close is not None:
        late.close()


def _reply(request: Request, work: Work) -> Reply | Waiting:
    """Return the answer of `work`, or the one that its exception means."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - each exception has its answer
        return error_reply(error, request.path, ERROR_FORMATS)
