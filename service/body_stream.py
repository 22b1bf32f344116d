"""The body of a request as it comes from the socket: whole, and not past the limit; else the request is refused."""

import io
from typing import IO, Any, cast

from flask import Request
from werkzeug.utils import cached_property
from werkzeug.wsgi import get_content_length, get_input_stream

from service.problems import Problem

READ_AT_ONCE = 64 * 1024
SETTING = "GRADMILL_BODY_BYTES_LIMIT"
FORM = "application/x-www-form-urlencoded"
FORM_BYTES_LIMIT = 16 * 1024
"A form of a page has a key or a token, and is parsed before anyone has shown a key."
PAGES = "/ui/"


def too_large(bytes_limit: int, verb: str = "has") -> Problem:
    """Return the refusal of a body past the limit."""
    origin = "the limit of a form" if bytes_limit == FORM_BYTES_LIMIT else f"the limit that {SETTING} sets"
    return Problem(413, f"the body {verb} more than {bytes_limit} bytes, {origin}")


class BoundedRequest(Request):
    """A request whose body is read through a BodyStream.

    Werkzeug's own stream stops at the limit of a chunked body without an error, so the part before it passes for the
    whole. And where the server says that it ends the body itself, as ours does, a body that was cut short passes
    for a whole one too.
    """

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Reading it raises Problem: 413 past the limit, 400 if it is not whole."""
        if self.mimetype == FORM or self.path.startswith(PAGES):
            self.max_content_length = FORM_BYTES_LIMIT
        length, bytes_limit = get_content_length(self.environ), self.max_content_length
        if bytes_limit is None or (length is None and "wsgi.input_terminated" not in self.environ):
            # there is no limit, or no body
            return get_input_stream(self.environ, max_content_length=bytes_limit)
        return cast(IO[bytes], BodyStream(self.environ["wsgi.input"], length, bytes_limit))


class BodyStream(io.RawIOBase):
    """The body of one request.

    length: its Content-Length; None for a chunked body, which ends with its last chunk.
    """

    def __init__(self, source: Any, length: int | None, bytes_limit: int) -> None:
        self._source, self._length, self._limit = source, length, bytes_limit
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._take(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._take(READ_AT_ONCE), b""))

    def _take(self, size: int) -> bytes:
        """Return the next bytes, at most this many; none at the end. Raises Problem."""
        if self._length is not None and self._length > self._limit:
            raise too_large(self._limit)
        # one byte past the limit is enough to refuse a chunked body
        end = self._limit + 1 if self._length is None else self._length
        if self._position == end:
            return b""
        part = self._read(min(size, end - self._position))
        self._position += len(part)
        if self._position > self._limit:
            raise too_large(self._limit)
        if not part and self._length is not None:
            raise Problem(400, f"the body ended after {self._position} of its {self._length} bytes")
        return part

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._source.read(size))
        except Exception as error:
            # each server has its own exceptions for a lost connection and for chunks that are malformed
            raise Problem(400, "the body ended early, or its chunks are malformed") from error
