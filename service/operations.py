"""Routes with all that is known of them in one declaration: method, path, policy, body, query, answers.

From it come the Flask route, the access policy, the strict parsing and the OpenAPI document; so they can't disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from flask import Flask, Response, request
from pydantic import BaseModel

from service.parsing import parse_body, parse_query
from service.problems import DETAILS, Problem

Handler = Callable[..., Response]
JSON = "application/json"
OWN = "/v1/"
"Protocols of others allow parameters that we do not know."
ANYTHING = "*/*"


@dataclass(frozen=True)
class Answer:
    """What a status means: a model for JSON, or other media types, for the document."""

    description: str
    model: type[BaseModel] | None = None
    media_types: tuple[str, ...] = (JSON,)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """policy: a scope, or access.OPEN. body: parsed and given to the handler as `body`; query likewise as `query`.

    accepts: media types of a body that the handler reads itself; documented_body: its model for the document.
    refusal: what an error looks like here, if it is no problem document.
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
    headers: Mapping[str, str] = field(default_factory=dict)
    refusal: type[BaseModel] | None = None

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def endpoint(self) -> str:
        return f"{self.tag}.{self.name}"


class Operations:
    """The operations of one resource, in the order of their declaration."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.declared: list[Operation] = []

    def declare(
        self, method: str, path: str, *, policy: str, answers: Mapping[int, Answer], **known: Any
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function's route. Its docstring's first line is the summary."""

        def decorate(handler: Handler) -> Handler:
            summary = (handler.__doc__ or "").strip().split("\n")[0].rstrip(".")
            self.declared.append(Operation(method, path, handler, policy, self.tag, summary, answers, **known))
            return handler

        return decorate


def register_operations(app: Flask, operations: list[Operation]) -> dict[str, str]:
    """Add the routes; their policies by endpoint."""
    for operation in operations:
        app.add_url_rule(
            operation.path,
            endpoint=operation.endpoint,
            view_func=_view(operation),
            methods=[operation.method],
            strict_slashes=True,
        )
    return {operation.endpoint: operation.policy for operation in operations}


def _view(operation: Operation) -> Handler:
    offered = [kind for status, known in operation.answers.items() if status < 300 for kind in known.media_types]

    def view(**arguments: Any) -> Response:
        if "\0" in request.path:
            # PostgreSQL takes no such text, so that nothing can have this name
            raise Problem(404, DETAILS[404])
        anything = request.environ.get("HTTP_ACCEPT", ANYTHING) == ANYTHING
        if offered and not anything and request.accept_mimetypes and not request.accept_mimetypes.best_match(offered):
            raise Problem(406, f"this address answers {' or '.join(dict.fromkeys(offered))}")
        if operation.query is not None:
            arguments["query"] = parse_query(operation.query)
        elif request.args and operation.path.startswith(OWN):
            name = next(iter(request.args))[:64]
            fault = {"parameter": name, "detail": "is not known at this address"}
            raise Problem(422, "a parameter is not what this address takes", errors=[fault])
        if operation.body is not None:
            arguments["body"] = parse_body(operation.body)
        return operation.handler(**arguments)

    return view


def conditional(response: Response, tag: str | None = None, *, weak: bool = False) -> Response:
    """The response with an ETag (of its content, unless one is given), or 304 if the caller has it."""
    if tag is None:
        response.add_etag()
    else:
        response.set_etag(tag, weak=weak)
    return cast(Response, response.make_conditional(request))


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(document), status, dict(headers or {}), content_type=JSON)
