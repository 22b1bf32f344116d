"""Text of a table in any of the ways that programs write it -> CSV with a line of names."""

import csv
import io
import re

import pyarrow as pa
import pyarrow.csv

from worker.data.readers import LINE_BYTES_LIMIT, delimiter_of, first_line, split_line
from worker.data.reading import Declared
from worker.errors import DataError
from worker.settings import Limits

MARKS_TIMES = 4
"If the second line has more than MARKS_TIMES as many marks as the first, its cells are not read to compare the two."


def as_csv(text: bytes, declared: Declared, limits: Limits) -> bytes:
    """Return the text without comments, with one mark between cells, and with a name for each column.

    Raises DataError.
    """
    if declared.comment is not None:
        text = _without_comments(text, declared.comment)
    if declared.delimiter == "whitespace":
        text = _with_commas(text)
    line = first_line(text)
    delimiter = declared.reading.delimiter or delimiter_of(line)
    if line.count(delimiter.encode()) >= limits.columns:
        # before its cells are read: each takes some kilobytes
        raise DataError(f"the table has more than {limits.columns} columns")
    try:
        if not declared.header:
            names = map(str, range(len(split_line(line, delimiter))))
            return delimiter.join(names).encode() + b"\n" + text.removeprefix(b"\xef\xbb\xbf")
        return _with_all_names(text, delimiter)
    except pa.ArrowInvalid:
        # the reader of CSV reports what is wrong
        return text


def _without_comments(text: bytes, mark: str) -> bytes:
    """Return the text without the lines that begin with the mark; such a line within quotes is part of a cell."""
    line = rb"(?:^|(?<=[\r\n])) *" + re.escape(mark.encode()) + rb"[^\r\n]*(?:\r\n|\r|\n|$)"
    quoted = rb'"(?:[^"]|"")*+"'
    return re.sub(quoted + b"|" + line, lambda found: found[0] if found[0].startswith(b'"') else b"", text)


def _with_commas(text: bytes) -> bytes:
    """Return text whose cells are separated by any number of spaces and tabs, with commas instead."""
    out = io.StringIO()
    lines = (line.replace("\t", " ").strip() for line in io.StringIO(text.decode().removeprefix("\ufeff")))
    try:
        csv.writer(out, lineterminator="\n").writerows(
            csv.reader(filter(None, lines), delimiter=" ", skipinitialspace=True)
        )
    except csv.Error as error:
        raise DataError(f"the text can't be read as cells between spaces: {error}") from error
    return out.getvalue().encode()


def _with_all_names(text: bytes, delimiter: str) -> bytes:
    """Return the text with an empty name for each column of row names, which R writes without one, or of no cells.

    Such a line of names is one short. Cells that are empty in every row come from a mark at the end of each line.
    """
    head, mark = first_line(text), delimiter.encode()
    start = text.find(b"\n") + 1
    second = first_line(text[start : start + LINE_BYTES_LIMIT]) if start else b""
    if not second or second.count(b'"') % 2 or second.count(mark) > MARKS_TIMES * (head.count(mark) + 1):
        return text
    names = split_line(head, delimiter) if head.strip() else []
    if len(split_line(second, delimiter)) != len(names) + 1:
        return text
    found = _column(text[start:], delimiter, len(names))
    if not any(found):
        return head + mark + b"\n" + text[start:]
    first = _column(text[start:], delimiter, 0)
    return mark + head + b"\n" + text[start:] if len(set(first)) == len(first) else text


def _column(rows: bytes, delimiter: str, place: int) -> list[str]:
    table = pyarrow.csv.read_csv(
        pa.BufferReader(rows),
        read_options=pyarrow.csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={f"f{place}": pa.string()}, include_columns=[f"f{place}"]
        ),
    )
    cells: list[str] = table.column(0).to_pylist()
    return cells
