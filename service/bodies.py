"""Compressed bodies, as clients of other servers send and accept them."""

import gzip
import io
import zlib

from service.body_stream import too_large
from service.context import parts
from service.loop import leave_loop
from service.problems import Problem
from service.request import request

PLAIN = ("", "identity")
LEVEL = 1
"The level of compression. Higher levels take several times as long and hardly make numbers smaller."


def read_body() -> bytes:
    """Return the inflated body, whatever its Content-Type. Raises Problem: 400, 413 if it is too large, or 415."""
    encoding = request().headers.get("content-encoding", "").strip().lower()
    if encoding not in PLAIN:
        # a short body may become a long one
        leave_loop()
    return inflate(request().body, encoding, parts().settings.body_bytes_limit)


def inflate(content: bytes, encoding: str, bytes_limit: int) -> bytes:
    """Inflate a gzip or deflate body. At most bytes_limit + 1 bytes are inflated. Raises Problem."""
    if encoding in PLAIN:
        return content
    if encoding not in ("gzip", "deflate"):
        raise Problem(415, "the body may be encoded as gzip or deflate", headers={"Accept-Encoding": "gzip, deflate"})
    try:
        inflated = _gunzip(content, bytes_limit) if encoding == "gzip" else _unzip(content, bytes_limit)
    except (OSError, EOFError, zlib.error) as error:
        raise Problem(400, f"the body is not {encoding}") from error
    if len(inflated) > bytes_limit:
        raise too_large(bytes_limit, "inflates to")
    return inflated


def _gunzip(content: bytes, bytes_limit: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(bytes_limit + 1)


def _unzip(content: bytes, bytes_limit: int) -> bytes:
    """Inflate deflate, which means the zlib format. Source: RFC 9110, section 8.4.1.2."""
    decompressor = zlib.decompressobj()
    inflated = decompressor.decompress(content, bytes_limit + 1)
    whole = decompressor.eof and not decompressor.unused_data
    if not whole and len(inflated) <= bytes_limit:
        raise EOFError
    return inflated


def compressed(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body, compressed if Accept-Encoding allows it, and the headers that say so."""
    headers = {"Vary": "Accept-Encoding"}
    if "accept-encoding" not in request().headers:
        return body, headers
    accepted = request().accept_encodings
    if accepted["gzip"] > 0:
        return gzip.compress(body, LEVEL, mtime=0), headers | {"Content-Encoding": "gzip"}
    if accepted["deflate"] > 0:
        return zlib.compress(body, LEVEL), headers | {"Content-Encoding": "deflate"}
    return body, headers
