"""Reads the body of a request in the loop, so that no thread waits for a slow sender."""

from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
MEMORY_BYTES = 2**20
"A larger body waits in a temporary file."


class GoneError(Exception):
    """The client is gone before its request was whole."""


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the whole body; None if it has more bytes than this: then not all of it is read. Raises GoneError."""
    part, more = await _part(receive)
    if not more:
        # most bodies are one part
        return part if len(part) <= limit else None
    parts, length = [part], len(part)
    while more and length <= limit:
        part, more = await _part(receive)
        parts.append(part)
        length += len(part)
    return b"".join(parts) if length <= limit else None


async def spool_body(receive: Receive, limit: int) -> SpooledTemporaryFile[bytes]:
    """Return the body in a file; of one with more bytes than this, only its beginning. Raises GoneError."""
    file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
    try:
        more = True
        while more and file.tell() <= limit:
            part, more = await _part(receive)
            file.write(part)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next part, and whether there are more."""
    message = await receive()
    if message["type"] != "http.request":
        raise GoneError
    return message.get("body", b""), message.get("more_body", False)
