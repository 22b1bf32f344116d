"""A stored table of results, an Arrow stream, as a client wants it: CSV, the stream itself, or lines of JSON."""

from collections.abc import Callable, Iterator
from typing import IO

import orjson
import pyarrow as pa
import pyarrow.ipc

from service.conditional import conditional
from service.csv_text import csv_bytes
from service.reply import Reply
from service.request import request
from worker.data.readers import ARROW, CSV

NDJSON = "application/x-ndjson"
EXTENSIONS = {CSV: "csv", ARROW: "arrows", NDJSON: "jsonl"}
RESULTS = tuple(EXTENSIONS)
PART_BYTES = 2**20


def result_file(name: str, tag: str, opened: Callable[[], IO[bytes]]) -> Reply:
    """Return the table in the form that the client asks for; 304 if it has it.

    name: of the file, without its extension.
    tag: the ETag of the stored bytes, which never change.
    opened: opens them.
    """
    media_type = request().accept_mimetypes.best_match(RESULTS, CSV) or CSV
    tag = f"{tag}-{RESULTS.index(media_type)}"
    if request().if_none_match.contains(tag):
        return conditional(Reply(content_type=media_type), tag)
    file = opened()
    headers = {"Content-Disposition": f'attachment; filename="{name}.{EXTENSIONS[media_type]}"'}
    return conditional(Reply(CONVERTED[media_type](file), 200, media_type, headers, close=file.close), tag)


def _stored(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(PART_BYTES), b"")


def _csv(file: IO[bytes]) -> Iterator[bytes]:
    for n, batch in enumerate(pa.ipc.open_stream(file)):
        yield csv_bytes(pa.Table.from_batches([batch]), header=n == 0)


def _json_lines(file: IO[bytes]) -> Iterator[bytes]:
    for batch in pa.ipc.open_stream(file):
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist())


CONVERTED: dict[str, Callable[[IO[bytes]], Iterator[bytes]]] = {CSV: _csv, ARROW: _stored, NDJSON: _json_lines}
"How the Arrow stream that is stored is sent, a part at a time, by the media type that is asked for."
