"""A reply of the API. Each front sends it in its own way."""

from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

JSON = "application/json"


@dataclass(slots=True)
class Reply:
    """The status, headers and body of an answer.

    body: whole; or in parts, each made when the one before is sent; or a stream, which waits for what will happen.
    content_type: None if there is no body.
    headers: the others, by their names as they are usually written.
    close: called once the body is sent, or can't be sent.
    """

    body: bytes | Iterator[bytes] | AsyncIterable[bytes] = b""
    status: int = 200
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] | None = None


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return the document as JSON."""
    return Reply(orjson.dumps(document), status, JSON, dict(headers or {}))
