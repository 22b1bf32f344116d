"""The API's operations in Flask: their routes, each request as a `Request`, and each reply as Flask sends it."""

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from enum import Enum, auto
from typing import Any, assert_never

import structlog
from flask import Flask, Response, request
from werkzeug.routing import BaseConverter

from service.browser_sessions import session_project
from service.context import EXTENSION, Parts
from service.operations import Operation, carry_out
from service.problems import TRANSLATIONS, ErrorFormat, error_reply
from service.reply import Reply
from service.request import Request, begin, request_id
from service.waiting import Waiting

WAITS = "gradmill.waits"
"The member of WSGI's environment with which the edge says that no thread need wait."


class VersionNumber(BaseConverter):
    """A version in an address. Werkzeug's own integers may be Arabic digits, have leading zeros, and be of any size."""

    # a number past VERSION_LIMIT passes, and no version has it; refused here, another method's answer would be a 405
    regex = "[1-9][0-9]{0,9}"

    def to_python(self, value: str) -> int:
        return int(value)


def register_requests(app: Flask, parts: Parts) -> None:
    """Make a `Request` of each of Flask's. Its id is bound to the log's lines, and returned as X-Request-Id."""

    @app.before_request
    def receive() -> None:
        begin(_received(parts))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id())

    @app.after_request
    def identify(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id() or ""
        return response


def _received(parts: Parts) -> Request:
    return Request(
        request.method,
        request.path,
        request.query_string,
        {name.lower(): value for name, value in request.headers.items()},
        arguments=request.view_args or {},
        read=lambda: request.get_data(cache=True),
        parts=parts,
    )


def has_session(app: Flask, environ: dict[str, Any]) -> bool:
    """Return whether a request carries the cookie of a session that has not ended."""
    with app.request_context(environ):
        begin(_received(app.extensions[EXTENSION]))
        return session_project() is not None


def register_operations(app: Flask, operations: list[Operation]) -> dict[str, str]:
    """Add the routes to the app, and return their policies by endpoint."""
    app.url_map.converters["int"] = VersionNumber
    for operation in operations:
        app.add_url_rule(
            operation.path,
            endpoint=operation.endpoint,
            view_func=_view(operation),
            methods=[operation.method],
            strict_slashes=True,
        )
    return {operation.endpoint: operation.policy for operation in operations}


def _view(operation: Operation) -> Callable[..., Response]:
    def view(**_arguments: Any) -> Response:
        return to_response(carry_out(operation))

    return view


def register_problems(app: Flask, formats: Mapping[str, ErrorFormat]) -> None:
    """Answer every exception. formats: how other protocols write their errors, by the prefix of their addresses."""
    for kind in TRANSLATIONS:
        app.register_error_handler(kind, lambda error: to_response(error_reply(error, request.path, formats)))


def to_response(reply: Reply | Waiting) -> Response:
    """Return a reply as Flask sends it."""
    if isinstance(reply, Waiting):
        return _waited(reply)
    body = Driven(reply.body, reply.close) if isinstance(reply.body, AsyncIterable) else reply.body
    response = Response(body, reply.status, reply.headers, content_type=reply.content_type)
    # the edge recognises a stream by its type, if nothing is wrapped around it
    response.direct_passthrough = isinstance(body, Driven)
    if reply.content_type is None:
        response.headers.pop("Content-Type", None)
    if reply.close is not None:
        response.call_on_close(reply.close)
    return response


def _waited(waiting: Waiting) -> Response:
    """Return the answer that is given later. A thread waits for it here, unless the edge does."""
    # behind the head of an answer to HEAD nothing comes, so that the edge would not see what to wait for
    waits: Waits | None = Waits.OVER if request.method == "HEAD" else request.environ.get(WAITS)
    match waits:
        case Waits.BY_EDGE:
            response = Response(Paused(waiting))
            response.direct_passthrough = True
            return response
        case Waits.OVER:
            waiting.watch.leave()
        case None:
            asyncio.run(waiting.over())
        case _:
            assert_never(waits)
    return to_response(waiting.then())


class Waits(Enum):
    """What the edge says of an answer that is given later: that it waits for it itself, or has done so."""

    BY_EDGE = auto()
    OVER = auto()


class Paused:
    """The WSGI body of a request that the edge sends again when its time has come. It has no parts."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.close = waiting.watch.leave

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


class Driven:
    """A stream as a WSGI body: a thread waits for each part. The edge takes the `stream` itself, and waits in its loop.

    close: called once the stream is sent.
    """

    def __init__(self, stream: AsyncIterable[bytes], close: Callable[[], None] | None = None) -> None:
        self.stream, self.close = stream, close or (lambda: None)

    def __iter__(self) -> Iterator[bytes]:
        loop = asyncio.new_event_loop()
        parts = aiter(self.stream)
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(parts))
                except StopAsyncIteration:
                    return
        finally:
            loop.run_until_complete(parts.aclose())  # type: ignore[attr-defined]
            loop.close()
