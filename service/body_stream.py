"""The body of a request as it comes from the socket: whole, and not past the limit; else the request is refused."""

import io
from typing import IO, Any, cast

from flask import Request
from werkzeug.utils import cached_property
from werkzeug.wsgi import get_content_length, get_input_stream

from service.problems import Problem

READ_AT_ONCE = 64 * 1024
SETTING = "GRADMILL_BODY_BYTES_LIMIT"


def too_large(bytes_limit: int, verb: str = "has") -> Problem:
    """Return the refusal of a body past the limit."""
    return Problem(413, f"the body {verb} more than {bytes_limit} bytes, the limit that {SETTING} sets")


class BoundedRequest(Request):
    """A request whose body is read through a BodyStream.

    Werkzeug's own stream ends a chunked body at the limit without a word, so that a part was taken for the whole. And
    where a server says that it ends the body itself, as gunicorn does, it takes a body cut short for a whole one.
    """

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Reading it raises Problem: 413 past the limit, 400 if it is not whole."""
        length, bytes_limit = get_content_length(self.environ), self.max_content_length
        if bytes_limit is None or (length is None and "wsgi.input_terminated" not in self.environ):
            # there is no limit, or no body
            return get_input_stream(self.environ, max_content_length=bytes_limit)
        return cast(IO[bytes], BodyStream(self.environ["wsgi.input"], length, bytes_limit))


class BodyStream(io.RawIOBase):
    """A body of `length` bytes; None: chunked, so that only its end tells the length."""

    def __init__(self, source: Any, length: int | None, bytes_limit: int) -> None:
        self._source, self._length, self._limit = source, length, bytes_limit
        self._position = 0
        # one byte past the limit is enough to refuse the body
        self._end = bytes_limit + 1 if length is None else length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._end > self._limit and self._length is not None:
            raise too_large(self._limit)
        part = self._read(min(len(buffer), self._end - self._position))
        self._position += len(part)
        if self._position > self._limit:
            raise too_large(self._limit)
        if not part and self._length is not None and self._position < self._length:
            raise Problem(400, f"the body ended after {self._position} of its {self._length} bytes")
        buffer[: len(part)] = part
        return len(part)

    def readall(self) -> bytes:
        # io's own reads 8 KiB at a time
        return b"".join(iter(lambda: self.read(READ_AT_ONCE) or b"", b""))

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._source.read(size))
        except Exception as error:
            # each server has exceptions of its own for a lost connection and for chunks that are not in form
            raise Problem(400, "the body ended early, or its chunks are malformed") from error
