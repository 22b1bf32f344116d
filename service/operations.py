"""Declares routes, each in one place: method, path, policy, body, query, answers.

The Flask route, the access policy, the strict parsing and the OpenAPI document are made from the declaration, so they
agree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from flask import Flask, Response, request
from pydantic import BaseModel
from werkzeug.datastructures import ETags
from werkzeug.routing import BaseConverter

from service.context import parts
from service.idempotency import IDEMPOTENCY_KEY, read_key
from service.parsing import parse_body, parse_query
from service.problems import DETAILS, Problem, invalid_parameter

Handler = Callable[..., Response]
JSON = "application/json"
OWN = "/v1/"
"Under this prefix unknown query parameters are refused; other protocols allow parameters that we do not know."
ANYTHING = "*/*"


@dataclass(frozen=True)
class Answer:
    """The documentation of one status.

    model: the model of a JSON answer; None for other content.
    media_types: the media types of the answer; empty if it has no body.
    headers: the headers of the answer, with their descriptions.
    """

    description: str
    model: type[BaseModel] | None = None
    media_types: tuple[str, ...] = (JSON,)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One route.

    policy: a scope, or access.OPEN.
    body, query: models; the parsed values are passed to the handler as `body` and `query`.
    accepts: the media types of a body that the handler reads itself.
    documented_body: the model of such a body, for the OpenAPI document only.
    optional_body: whether the request may have no body.
    headers: the request headers that the route reads, with their descriptions.
    heavy: whether it may read many rows. Such routes together use only a share of the database's connections.
    refusal: the model of an error, for a protocol whose errors are not problem documents.
    """

    method: str
    path: str
    handler: Handler
    policy: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    accepts: tuple[str, ...] = ()
    documented_body: type[BaseModel] | None = None
    optional_body: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    heavy: bool = False
    refusal: type[BaseModel] | None = None

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def bodies(self) -> tuple[str, ...]:
        """The media types of the body; none if the operation takes no body."""
        return self.accepts or ((JSON,) if self.body else ())

    @property
    def media_types(self) -> list[str]:
        """The media types of successful answers."""
        return [kind for status, known in self.answers.items() if status < 300 for kind in known.media_types]

    @property
    def endpoint(self) -> str:
        return f"{self.tag}.{self.name}"


class Operations:
    """The operations of one resource, in the order in which they were declared."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.declared: list[Operation] = []

    def declare(
        self, method: str, path: str, *, policy: str, answers: Mapping[int, Answer], **known: Any
    ) -> Callable[[Handler], Handler]:
        """Declare the route of the decorated function, whose docstring's first line is the summary.

        known: the other fields of Operation.
        """

        def decorate(handler: Handler) -> Handler:
            summary = (handler.__doc__ or "").strip().split("\n")[0].rstrip(".")
            self.declared.append(Operation(method, path, handler, policy, self.tag, summary, answers, **known))
            return handler

        return decorate


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


class VersionNumber(BaseConverter):
    """A version in an address. Werkzeug's own integers may be Arabic digits, have leading zeros, and be of any size."""

    # a number past VERSION_LIMIT passes, and no version has it; refused here, another method's answer would be a 405
    regex = "[1-9][0-9]{0,9}"

    def to_python(self, value: str) -> int:
        return int(value)


def _view(operation: Operation) -> Handler:
    offered = operation.media_types
    keyed = IDEMPOTENCY_KEY in operation.headers

    def view(**arguments: Any) -> Response:
        if "\0" in request.path:
            # PostgreSQL can't store such text, so nothing has this name
            raise Problem(404, DETAILS[404])
        anything = request.environ.get("HTTP_ACCEPT", ANYTHING) == ANYTHING
        if offered and not anything and request.accept_mimetypes and not request.accept_mimetypes.best_match(offered):
            raise Problem(406, f"this address answers with {' or '.join(dict.fromkeys(offered))}")
        if keyed:
            read_key()
        if operation.query is not None:
            arguments["query"] = parse_query(operation.query)
        elif request.args and operation.path.startswith(OWN):
            name = next(iter(request.args))[:64]
            raise invalid_parameter([{"parameter": name, "detail": "is not known at this address"}])
        if operation.body is not None:
            arguments["body"] = parse_body(operation.body)
        if not operation.heavy:
            return operation.handler(**arguments)
        with parts().lists_share.turn():
            return operation.handler(**arguments)

    return view


def conditional(response: Response, tag: str | None = None, *, weak: bool = False) -> Response:
    """Return the response with an ETag, or 304 if the caller already has this content. Raises a 412 Problem.

    tag: the ETag; None for a hash of the content.
    """
    if tag is None:
        response.add_etag()
    else:
        response.set_etag(tag, weak=weak)
    environ = request.environ
    if request.if_match:
        _check_match(response, request.if_match)
        # Werkzeug would answer 412 to If-Match: *, which matches whatever exists
        environ = {name: value for name, value in environ.items() if name != "HTTP_IF_MATCH"}
    response.make_conditional(environ)
    return response


def _check_match(response: Response, wanted: ETags) -> None:
    """Raise a 412 Problem unless the response has one of these ETags. A weak ETag matches none: RFC 9110, 13.1.1."""
    tag, weak = response.get_etag()
    if not wanted.star_tag and (weak or not wanted.is_strong(tag or "")):
        raise Problem(412, DETAILS[412])


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the document as JSON."""
    return Response(orjson.dumps(document), status, dict(headers or {}), content_type=JSON)
