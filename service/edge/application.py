"""The ASGI application at the edge: it answers hot operations itself, and has Flask answer everything else.

In its loop it does what takes a moment: the health check, a prediction of few rows, the parts of a stream. What may
block is done by threads, of which hot operations have some of their own, so that predictions go on while uploads are
parsed. A thread never waits for a client: a body is read before a thread is taken, and a long answer is made part by
part.
"""

import asyncio
import contextvars
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from flask import Flask

from service.access import key_holder
from service.app import all_operations
from service.body_stream import FORM_BYTES_LIMIT
from service.context import EXTENSION, Parts
from service.edge.bodies import GoneError, Receive, spool_body
from service.edge.crowd import Crowd
from service.edge.hot import HotOperations
from service.edge.sending import ReplyHeaders, Send, send_answer
from service.edge.threads import LongAnswer, Threads
from service.edge.wsgi_call import Answered, again, call, environ_of
from service.failed_keys import network_of
from service.flask_front import Paused, has_session
from service.problems import Problem, problem_of
from worker.errors import UnavailableError

log = structlog.get_logger()

Scope = dict[str, Any]


class Edge:
    """One application of a process. Create it after the fork."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        parts: Parts = app.extensions[EXTENSION]
        self._settings, self._live = parts.settings, parts.live
        self._hot = HotOperations(parts, all_operations())
        self._threads = Threads(self._settings.api_threads, "flask")
        self._reply_headers = ReplyHeaders(self._settings)
        # behind a proxy all connections have its address: there the client is known by each request
        self._crowd = Crowd(self._settings.connections_limit, self._settings.address_connections_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Source: ASGI, HTTP connection scope."""
        headers = _headers(scope["headers"])
        address = self._forwarded_for(headers)
        if address is not None and not self._crowd.enter(address):
            problem = Problem(503, "too many requests of this address at once", headers={"Retry-After": "2"})
            await self._refuse(problem, send)
            return
        try:
            if self._settings.access_log:
                await self._logged(scope, headers, receive, send)
            else:
                await self._answer(scope, headers, receive, send)
        except (GoneError, asyncio.CancelledError):
            # the client is gone, or the server ends: nobody waits for the rest
            pass
        finally:
            if address is not None:
                self._crowd.leave(address)

    def _forwarded_for(self, headers: Mapping[str, str]) -> str | None:
        """Return the client that the trusted proxies name, or its network; None without trusted proxies."""
        proxies = self._settings.proxies
        if not proxies:
            return None
        named = [name.strip() for name in headers.get("x-forwarded-for", "").split(",")]
        return network_of(named[-proxies]) if len(named) >= proxies else ""

    async def _logged(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        began, seen = time.perf_counter(), {"status": 0}

        async def noting(message: dict[str, Any]) -> None:
            seen["status"] = message.get("status", seen["status"])
            await send(message)

        try:
            await self._answer(scope, headers, receive, noting)
        finally:
            milliseconds = round((time.perf_counter() - began) * 1e3, 2)
            # without the query, in which a login link has its token
            log.info("request", method=scope["method"], path=scope["path"], ms=milliseconds, **seen)

    async def _answer(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        hot = self._hot.find(scope, headers)
        if hot is None:
            await self._by_flask(scope, headers, receive, send)
        else:
            await self._hot.answer(hot, scope, headers, receive, send)

    async def _by_flask(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        try:
            limit = await self._body_limit(scope, headers)
        except (Problem, UnavailableError) as error:
            await self._refuse(problem_of(error), send)
            return
        length = int(headers.get("content-length", 0))
        context = contextvars.copy_context()
        # a body that is refused for its length is not read
        body = await spool_body(receive, limit if length <= limit else -1)
        environ = environ_of(scope, headers, body)
        try:
            answered = await self._call(environ, context)
        except Problem as busy:
            body.close()
            await self._refuse(busy, send)
            return
        if isinstance(answered.body, Paused):
            await answered.body.waiting.over()
            answered = await self._call(again(environ, answered.headers), context, has_begun=True)
            assert not isinstance(answered.body, Paused)  # noqa: S101 - what was paused is so once
        long_answer = LongAnswer(self._threads, context)
        try:
            await send_answer(send, answered.status, answered.headers, answered.body, long_answer.advance)
        finally:
            long_answer.close(answered.close)

    async def _call(
        self, environ: dict[str, Any], context: contextvars.Context, *, has_begun: bool = False
    ) -> Answered:
        work = partial(call, self._app, environ)
        return await self._threads.run(work, context, discard=lambda late: late.close(), has_begun=has_begun)

    async def _body_limit(self, scope: Scope, headers: dict[str, str]) -> int:
        """Return how much of a body is read before Flask has the request: little, unless its sender is known."""
        if "transfer-encoding" not in headers and int(headers.get("content-length", 0)) <= FORM_BYTES_LIMIT:
            return FORM_BYTES_LIMIT
        known = key_holder(self._settings, headers.get("authorization", "")) is not None
        if not known and "cookie" in headers:
            known = await self._threads.run(partial(has_session, self._app, environ_of(scope, headers)))
        return self._settings.body_bytes_limit if known else FORM_BYTES_LIMIT

    async def _refuse(self, problem: Problem, send: Send) -> None:
        reply = problem.reply()
        headers = self._reply_headers.of(reply, "", None)
        await send_answer(send, reply.status, headers, reply.body, LongAnswer(self._threads).advance)

    def close(self) -> None:
        """End all streams: the process stops."""
        self._live.close()


def _headers(received: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name. A name with an underscore is left out: WSGI could not tell it from a hyphen."""
    headers: dict[str, str] = {}
    for name, value in received:
        known, text = name.decode("latin-1"), value.decode("latin-1")
        if known in headers:
            headers[known] += ("; " if known == "cookie" else ",") + text
        elif "_" not in known:
            headers[known] = text
    return headers
