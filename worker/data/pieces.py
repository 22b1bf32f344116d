"""Where the rows of a stored table are in its bytes, so that a few of them can be read without the others."""

import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, Self

import pyarrow as pa

from worker.specs.base import Spec

PIECE_BYTES = 4096
PIECES_LIMIT = 32_768
"The most pieces of a CSV: of a larger table they are longer."
COLUMN_BYTES = 256
"An Arrow batch has this many bytes for each column at least: what describes a column takes about 64."


class Part(NamedTuple):
    """Some rows of a table.

    ranges: where their pieces and the head are in the table's bytes, in order. Together they are a table.
    positions: where the rows are in that table.
    """

    ranges: list[tuple[int, int]]
    positions: list[int]


class Pieces(Spec):
    """A table's bytes as a head and pieces of whole rows. The head with some of the pieces is a table of their rows.

    types: the Arrow type of each column, which only the whole table decides.
    head_bytes: the length of the head.
    piece_rows, piece_bytes: how many rows each piece has, and its length.
    """

    types: tuple[str, ...]
    head_bytes: int
    piece_rows: tuple[int, ...]
    piece_bytes: tuple[int, ...]

    def find(self, rows: Sequence[int]) -> Part:
        """Return where rows are, by their numbers from 0 in any order."""
        # the first row of each piece, and where it begins
        firsts = list(accumulate(self.piece_rows, initial=0))
        offsets = list(accumulate(self.piece_bytes, initial=self.head_bytes))
        holding = [bisect_right(firsts, row) - 1 for row in rows]
        ranges, count = [(0, self.head_bytes)], 0
        before: dict[int, int] = {}
        for piece in sorted(set(holding)):
            before[piece] = count
            count += self.piece_rows[piece]
            start, end = offsets[piece], offsets[piece + 1]
            if ranges[-1][1] == start:
                start = ranges.pop()[0]
            ranges.append((start, end))
        return Part(ranges, [before[piece] + row - firsts[piece] for row, piece in zip(rows, holding, strict=True)])

    def rows_within(self, bytes_limit: int) -> int:
        """Return how many of the first rows are in this many bytes; those of the first piece in any case."""
        return sum(self.piece_rows[: max(1, bisect_right(list(accumulate(self.piece_bytes)), bytes_limit))])

    def pack(self) -> bytes:
        """Return the bytes in which a database keeps this: about 2 for each KiB of the table."""
        return zlib.compress(self.model_dump_json().encode())

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        return cls.model_validate_json(zlib.decompress(packed))


def cut_csv(content: bytes, delimiter: str, table: pa.Table) -> Pieces | None:
    """Return the pieces of a CSV table. None if its rows can't be told apart, so that it must be read as a whole.

    table: what was read from these bytes.
    """
    piece_bytes = max(PIECE_BYTES, len(content) // PIECES_LIMIT)
    head = FIRST_LINE.match(content)
    start = head.end() if head else len(content)
    firsts: list[int] = []
    offsets: list[int] = []
    count = 0
    for row in _rows(delimiter).finditer(content, start):
        if not offsets or row.start() >= offsets[-1] + piece_bytes:
            firsts.append(count)
            offsets.append(row.start())
        count += 1
    if count != table.num_rows:
        return None
    return _pieces(table, offsets, len(content), _lengths(firsts, count))


# Arrow ends a line at either character, and passes over empty lines
FIRST_LINE = re.compile(rb"[^\r\n]*+[\r\n]++")


def _rows(delimiter: str) -> re.Pattern[bytes]:
    """Return the pattern of a row with its line end. No input makes it look twice at a byte.

    A quote that begins a cell opens a quoted part, which ends at a quote that is not doubled. Any other quote is
    an ordinary character. Source: Arrow's cpp/src/arrow/csv/parser.cc, ParseLine.
    """
    mark = re.escape(delimiter.encode())
    return re.compile(rb'(?:[^"\r\n]++|(?<=[%s\r\n])"(?:[^"]++|"")*+"?+|")++[\r\n]*+' % mark)


def _lengths(starts: Sequence[int], end: int) -> tuple[int, ...]:
    return tuple(after - start for start, after in zip(starts, [*starts[1:], end], strict=True))


def write_pieces(table: pa.Table) -> tuple[bytes, Pieces]:
    """Return the table as an Arrow stream, in which each batch is a piece; the same bytes for the same table."""
    piece_bytes = max(PIECE_BYTES, COLUMN_BYTES * table.num_columns)
    rows = max(1, piece_bytes * table.num_rows // max(1, table.nbytes))
    batches = table.combine_chunks().to_batches(max_chunksize=rows)
    head, *found = [bytes(part.serialize()) for part in (table.schema, *batches)]
    offsets = list(accumulate(map(len, found), initial=len(head)))
    content = b"".join((head, *found))
    return content, _pieces(table, offsets[:-1], len(content), [batch.num_rows for batch in batches])


def _pieces(table: pa.Table, offsets: Sequence[int], end: int, counts: Sequence[int]) -> Pieces:
    types = tuple(str(kind) for kind in table.schema.types)
    lengths = _lengths(offsets, end)
    return Pieces(types=types, head_bytes=offsets[0], piece_rows=tuple(counts), piece_bytes=lengths)
