"""Calls the Flask application for a request of the edge: scope and body in, status, headers and body out.

Source: PEP 3333; ASGI, HTTP connection scope.
"""

import io
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import IO, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from werkzeug.wsgi import FileWrapper

from service.edge.sending import RawHeaders, raw
from service.flask_front import WAITS, Driven, Paused, Waits

SHORT_BYTES = 64 * 1024
"A shorter body is made in the call itself."
FILE_PART_BYTES = 256 * 1024
UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


class Answered(NamedTuple):
    """What the application answered.

    body: whole, or in parts if it is long; `Paused` if the request is to be sent again.
    close: call it once the body is sent, or can't be sent.
    """

    status: int
    headers: RawHeaders
    body: bytes | Iterator[bytes] | AsyncIterable[bytes] | Paused
    close: Callable[[], None]


def environ_of(scope: Mapping[str, Any], headers: Mapping[str, str], body: IO[bytes] | None = None) -> dict[str, Any]:
    """Return the WSGI environment.

    headers: by name in lower case, without names that have an underscore.
    body: None if nobody will read it.
    """
    host, port = scope["server"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": body or io.BytesIO(),
        # a chunked body has no length, and ends where the edge has seen its end
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.file_wrapper": _file_parts,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        WAITS: Waits.BY_EDGE,
    }
    for name, value in headers.items():
        environ[UNPREFIXED.get(name) or f"HTTP_{name.upper().replace('-', '_')}"] = value
    return environ


def again(environ: dict[str, Any], headers: RawHeaders) -> dict[str, Any]:
    """Return the environment of a request that was paused, now that its time has come.

    headers: of the first answer, whose id it keeps.
    """
    (request_id,) = (value.decode("latin-1") for name, value in headers if name == b"x-request-id")
    return environ | {"wsgi.input": io.BytesIO(), "HTTP_X_REQUEST_ID": request_id, WAITS: Waits.OVER}


def call(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> Answered:
    """Call the application, and close the request's body. It may block."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], None]:
        started[:] = [(status, headers)]
        return _refuse_to_write

    # the client may be gone by the time that the thread reads it, so nobody else closes it
    with environ["wsgi.input"]:
        parts = application(environ, start_response)
        close = getattr(parts, "close", _nothing)
        try:
            if isinstance(parts, Paused):
                body: Any = parts
            else:
                body = parts.stream if isinstance(parts, Driven) else _body(iter(parts))
        except BaseException:
            close()
            raise
    status, headers = started[0]
    return Answered(int(status[:3]), raw(headers), body, close)


def _body(parts: Iterator[bytes]) -> bytes | Iterator[bytes]:
    """Return a body whole if it is short."""
    found, size = [], 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size >= SHORT_BYTES:
            return chain(found, parts)
    return b"".join(found)


def _file_parts(file: Any, _size: int = 0) -> FileWrapper:
    """Return the parts of a file: larger ones than Werkzeug's own, as each is read by a thread."""
    return FileWrapper(file, FILE_PART_BYTES)


def _refuse_to_write(_content: bytes) -> None:
    raise NotImplementedError("PEP 3333's write() is for old frameworks; Flask does not use it")


def _nothing() -> None:
    return None
