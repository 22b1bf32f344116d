"""Declares routes, each in one place: method, path, policy, body, query, answers.

The routes of both fronts, the access policy, the strict parsing and the OpenAPI document are made from the declaration,
so they agree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from service.context import parts
from service.idempotency import IDEMPOTENCY_KEY, read_key
from service.parsing import parse_body, parse_query
from service.problems import DETAILS, Problem, invalid_parameter
from service.reply import JSON, Reply
from service.request import request
from service.waiting import Waiting

Handler = Callable[..., Reply | Waiting]
OWN = "/v1/"
"Under this prefix unknown query parameters are refused; other protocols allow parameters that we do not know."


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
    hot: whether the asynchronous edge answers it without Flask, because it is asked often or waits long.
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
    hot: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def bodies(self) -> tuple[str, ...]:
        """The media types of the body; none if the operation takes no body."""
        return self.accepts or ((JSON,) if self.body else ())

    @cached_property
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


def carry_out(operation: Operation) -> Reply | Waiting:
    """Parse the current request as the operation declares it, and return its handler's answer.

    Raises Problem, and whatever the handler raises. The access policy must have been checked before.
    """
    asked = request()
    arguments = dict(asked.arguments)
    if "\0" in asked.path:
        # PostgreSQL can't store such text, so nothing has this name
        raise Problem(404, DETAILS[404])
    offered, wanted = operation.media_types, None if asked.accepts_anything else asked.accept_mimetypes
    if offered and wanted and not wanted.best_match(offered):
        raise Problem(406, f"this address answers with {' or '.join(dict.fromkeys(offered))}")
    if IDEMPOTENCY_KEY in operation.headers:
        read_key()
    if operation.query is not None:
        arguments["query"] = parse_query(operation.query)
    elif asked.query_string and operation.path.startswith(OWN) and asked.args:
        name = next(iter(asked.args))[:64]
        raise invalid_parameter([{"parameter": name, "detail": "is not known at this address"}])
    if operation.body is not None:
        arguments["body"] = parse_body(operation.body)
    if not operation.heavy:
        return operation.handler(**arguments)
    with parts().lists_share.turn():
        return operation.handler(**arguments)
