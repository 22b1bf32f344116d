"""Bodies in the forms that clients of other servers send: compressed, and JSON in which NaN is a missing number."""

import gzip
import io
import json
import math
import zlib
from typing import Any

import orjson
from flask import Response, request

from service.context import parts
from service.parsing import check_surrogates
from service.problems import Problem

LEVEL = 1
"The level of compression. Higher levels take several times as long and hardly make numbers smaller."


def read_body() -> bytes:
    """Return the inflated body, whatever its Content-Type. Raises Problem: 400, 413 if it is too large, or 415."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return inflate(request.get_data(), encoding, parts().settings.body_bytes_limit)


def inflate(content: bytes, encoding: str, bytes_limit: int) -> bytes:
    """Inflate a gzip or deflate body. At most bytes_limit + 1 bytes are inflated. Raises Problem."""
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "deflate"):
        raise Problem(415, "the body may be encoded as gzip or deflate", headers={"Accept-Encoding": "gzip, deflate"})
    try:
        inflated = _gunzip(content, bytes_limit) if encoding == "gzip" else _unzip(content, bytes_limit)
    except (OSError, EOFError, zlib.error) as error:
        raise Problem(400, f"the body is not {encoding}") from error
    if len(inflated) > bytes_limit:
        raise Problem(413, f"the body inflates to more than {bytes_limit} bytes")
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


def compressed(response: Response) -> Response:
    """Compress the answer if Accept-Encoding allows it."""
    response.vary.add("Accept-Encoding")
    accepted = request.accept_encodings
    if accepted["gzip"] > 0:
        response.set_data(gzip.compress(response.get_data(), LEVEL, mtime=0))
        response.content_encoding = "gzip"
    elif accepted["deflate"] > 0:
        response.set_data(zlib.compress(response.get_data(), LEVEL))
        response.content_encoding = "deflate"
    return response


def read_json_with_nan(content: bytes) -> Any:
    """Parse JSON from clients of other servers, which may contain NaN for a missing number. Raises Problem."""
    if not content:
        raise Problem(400, "the body is empty")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return _parse_slowly(content)


def _parse_slowly(content: bytes) -> Any:
    try:
        document = json.loads(content.decode(), parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise Problem(400, f"the JSON is not UTF-8: byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise Problem(400, "the body is not JSON that can be read") from error
    check_surrogates(content, document)
    return document


def _constant(token: str) -> float:
    if token != "NaN":  # noqa: S105 - a token of JSON's grammar
        raise ValueError(token)
    return math.nan
