"""Compressed bodies: inflated as far as a body may be long, and answers deflated for those who ask."""

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
"Numbers hardly shrink more at a higher one, which takes several times as long."


def read_body() -> bytes:
    """The body whatever its Content-Type, inflated. Raises a Problem: 413 over the limit, 415, 400."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return inflate(request.get_data(), encoding, parts().settings.body_bytes_limit)


def inflate(content: bytes, encoding: str, bytes_limit: int) -> bytes:
    """Of a gzip or deflate body; no more than the limit is ever in memory. Raises a Problem."""
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
    """deflate means the zlib format: RFC 9110, section 8.4.1.2."""
    decompressor = zlib.decompressobj()
    inflated = decompressor.decompress(content, bytes_limit + 1)
    whole = decompressor.eof and not decompressor.unused_data
    if not whole and len(inflated) <= bytes_limit:
        raise EOFError
    return inflated


def compressed(response: Response) -> Response:
    """The answer as Accept-Encoding asks for it."""
    response.vary.add("Accept-Encoding")
    asked = request.accept_encodings
    if asked["gzip"] > 0:
        response.set_data(gzip.compress(response.get_data(), LEVEL, mtime=0))
        response.content_encoding = "gzip"
    elif asked["deflate"] > 0:
        response.set_data(zlib.compress(response.get_data(), LEVEL))
        response.content_encoding = "deflate"
    return response


def read_json(content: bytes) -> Any:
    """JSON as these protocols' clients write it: NaN stands for a missing number. Raises a Problem."""
    if not content:
        raise Problem(400, "the body is empty")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return _read_json_with_nan(content)


def _read_json_with_nan(content: bytes) -> Any:
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
