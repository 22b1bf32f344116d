"""A request as the handlers of the API see it, whichever front took it: Flask, or the asynchronous edge."""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import parse_qsl

import uuid_utils
from werkzeug.datastructures import Accept, ETags, MIMEAccept, MultiDict
from werkzeug.http import parse_accept_header, parse_etags, parse_options_header

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ANYTHING = "*/*"
LIST_BYTES = 2048
"15,000 media types took 50 ms. A server may pass over what a client accepts: RFC 9110, section 12.1."
NO_TAG = '"no version has this tag"'
REMEMBERED = 256
"Clients send the same few media types again and again."


@dataclass(frozen=True)
class Principal:
    """The caller. by_cookie: whether it is logged in on the dashboard, so that a change also needs a CSRF token."""

    project_id: str
    scopes: frozenset[str]
    by_cookie: bool


class Request:
    """The line, headers and body of a request, and who sent it.

    id: the client's X-Request-Id if it is a short word, else a new one. The answer and the lines of the log repeat it.
    principal: the caller; None until it is known.
    parts: what the process has opened, a `service.context.Parts`.
    headers: by name in lower case, decoded as Latin-1; the values of a header that is sent twice are joined by a comma.
    arguments: the parameters of the path.
    read: returns the whole body. May raise Problem.
    """

    def __init__(
        self,
        method: str,
        path: str,
        query_string: bytes,
        headers: Mapping[str, str],
        *,
        arguments: Mapping[str, Any],
        read: Callable[[], bytes],
        parts: object,
    ) -> None:
        self.method, self.path, self.query_string = method, path, query_string
        self.headers, self.arguments = headers, arguments
        self.parts, self._read = parts, read
        given = headers.get("x-request-id", "")
        self.id = given if ID.fullmatch(given) else uuid_utils.uuid7().hex
        self.principal: Principal | None = None

    @cached_property
    def body(self) -> bytes:
        """The whole body. Raises Problem if it is too large, or not whole."""
        return self._read()

    def release(self) -> None:
        """Let the body go: the handler has read it, and a long answer, or a kept connection, may keep this request."""
        self.__dict__.pop("body", None)
        self._read = bytes

    @property
    def full_path(self) -> str:
        """The path, a question mark, and the query string."""
        return f"{self.path}?{self.query_string.decode(errors='replace')}"

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """The parameters of the query string."""
        return MultiDict(parse_qsl(self.query_string.decode(errors="replace"), keep_blank_values=True))

    @property
    def mimetype(self) -> str:
        """The media type of the body in lower case, without its parameters; "" if none is given."""
        return _media_type(self.headers.get("content-type", ""))[0]

    @property
    def mimetype_params(self) -> Mapping[str, str]:
        """The parameters of the body's media type."""
        return _media_type(self.headers.get("content-type", ""))[1]

    @property
    def accepts_anything(self) -> bool:
        """Whether the client takes any media type. This is quicker to find out than what it prefers."""
        accepted = self.headers.get("accept", ANYTHING)
        return accepted == ANYTHING or len(accepted) > LIST_BYTES

    @cached_property
    def accept_mimetypes(self) -> MIMEAccept:
        return parse_accept_header(self._list("accept"), MIMEAccept)

    @cached_property
    def accept_encodings(self) -> Accept:
        return parse_accept_header(self._list("accept-encoding"))

    @cached_property
    def if_match(self) -> ETags:
        """The versions of which a change asks for one. A list that is too long has none of them."""
        return parse_etags(self._list("if-match") or (NO_TAG if "if-match" in self.headers else None))

    @cached_property
    def if_none_match(self) -> ETags:
        return parse_etags(self._list("if-none-match"))

    def _list(self, name: str) -> str | None:
        """Return a header that is a list; None if it is absent, or so long that to parse it would hold up others."""
        text = self.headers.get(name)
        return None if text is None or len(text) > LIST_BYTES else text


@lru_cache(REMEMBERED)
def _media_type(text: str) -> tuple[str, Mapping[str, str]]:
    kind, parameters = parse_options_header(text)
    return kind.lower(), parameters


_current: ContextVar[Request] = ContextVar("request")


def request() -> Request:
    """Return the request that is being answered."""
    return _current.get()


def begin(new: Request) -> None:
    """Make this the request that is being answered, here and in what is called from here."""
    _current.set(new)


def request_id() -> str | None:
    """Return the id of the request that is being answered; None outside one."""
    found = _current.get(None)
    return None if found is None else found.id
