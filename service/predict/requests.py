"""Reads a request to predict, in any media type, and encodes its rows for the network."""

from typing import Any, NamedTuple

from service.context import parts
from service.json_text import parse_fast
from service.loop import leave_loop
from service.parsing import JSON_TYPE, validate
from service.predict import schemas
from service.problems import Problem, table_fault
from service.request import request
from worker.data.arrow_streams import read_arrow_stream
from worker.data.npy import NPY, read_npy
from worker.data.readers import ARROW, CSV, read_cells
from worker.errors import DataError, pointer_token
from worker.networks.predictor import Predictor
from worker.networks.rows import Encoded

BODIES = (JSON_TYPE, CSV, NPY, ARROW)
ROW_TYPES = {dict, list}
MEMORY_SETTING = "GRADMILL_PREDICT_MEMORY_BYTES_LIMIT"
LOOP_ROWS, LOOP_PRODUCTS = 256, 2**21
"What is predicted in the event loop at most, in rows and in products: about a millisecond, in which others wait."
CELL_BYTES = 20
"What a cell of a table takes at most as text, as a number, and in a copy of it."


class JsonBody(NamedTuple):
    """A JSON body: rows, columns, or a dataset.

    others: the members besides rows and columns, such as `dataset`; None if the body has only rows.
    """

    rows: list[Any] | None
    columns: dict[str, list[Any]] | None
    others: schemas.PredictRequest | None


def read_json_body() -> JsonBody | None:
    """Return the body if it is JSON; None for another media type. Raises Problem.

    If two members have the same name, the fast parser keeps the last. Cells are checked when they are encoded.
    """
    if request().mimetype != JSON_TYPE:
        return None
    document = parse_fast(request().body)
    members: dict[str, Any] = document if isinstance(document, dict) else {}
    rows, columns = members.get("rows"), members.get("columns")
    rows = rows if isinstance(rows, list) and ROW_TYPES.issuperset(map(type, rows)) else None
    if rows is not None and len(members) == 1:
        return JsonBody(rows, None, None)
    columns = columns if isinstance(columns, dict) and {list}.issuperset(map(type, columns.values())) else None
    # rows and columns with the right types need not be validated again cell by cell
    checked: dict[str, Any] = {} if rows is None else {"rows": []}
    checked |= {} if columns is None else {"columns": {}}
    others = validate(schemas.PredictRequest, members | checked if checked else document)
    return JsonBody(others.rows if rows is None else rows, others.columns if columns is None else columns, others)


def read_rows(predictor: Predictor, body: JsonBody | None) -> Encoded:
    """Return the encoded rows of the request. body: its JSON body; None if it has another media type.

    Raises DataError for values that the model can't take, and Problem for a body that can't be read.
    """
    if body is None:
        return _read_table(predictor)
    if body.rows is None:
        return _encode_columns(predictor, body.columns or {})
    check_rows(predictor, len(body.rows))
    return predictor.rows.encode(body.rows)


def check_rows(predictor: Predictor, rows: int, *, ranked: int = 0) -> None:
    """Raise a 413 Problem if there are more rows than one request may have, by their number or their memory.

    ranked: how many classes the answer has for each row, each with its probability.
    """
    if rows > LOOP_ROWS or rows * predictor.parameters.flat.size > LOOP_PRODUCTS:
        leave_loop()
    settings = parts().settings
    if rows > settings.predict_rows_limit:
        raise Problem(
            413, f"{rows} rows at once; the limit is {settings.predict_rows_limit} (GRADMILL_PREDICT_ROWS_LIMIT)"
        )
    most = settings.predict_memory_bytes_limit // predictor.row_bytes(ranked)
    if rows > most:
        raise Problem(413, f"{rows} rows at once; this model predicts at most {most} ({MEMORY_SETTING})")


def cells_limit() -> int:
    """Return how many cells the table of one request may have."""
    return parts().settings.predict_memory_bytes_limit // CELL_BYTES


def _read_table(predictor: Predictor) -> Encoded:
    content, limits = request().body, parts().settings.limits
    if len(content) > (most := parts().settings.predict_memory_bytes_limit // 3):
        # text in it may take three times its length
        raise Problem(413, f"rows of {len(content)} bytes at once; the limit is {most} ({MEMORY_SETTING} / 3)")
    if request().mimetype == NPY:
        array = read_npy(content, limits, cells_limit=cells_limit())
        check_rows(predictor, len(array))
        return predictor.rows.encode_array(array)
    if request().mimetype == CSV:
        table = read_cells(content, limits, cells_limit=cells_limit())
    elif request().mimetype == ARROW:
        table = read_arrow_stream(content, limits, cells_limit=cells_limit())
    else:
        raise Problem(415, f"the body must be {', '.join(BODIES[:-1])} or {BODIES[-1]}")
    check_rows(predictor, table.num_rows)
    return predictor.rows.encode_table(table)


def _encode_columns(predictor: Predictor, columns: dict[str, list[Any]]) -> Encoded:
    check_rows(predictor, max(map(len, columns.values()), default=0))
    try:
        return predictor.rows.encode_columns(columns)
    except DataError as error:
        errors = [table_fault(_column_pointer(columns, error), error)]
        raise Problem(422, "the columns can't be used as they are", errors=errors) from error


def _column_pointer(columns: dict[str, list[Any]], error: DataError) -> str:
    if error.column is None or error.column not in columns:
        return "/columns"
    pointer = f"/columns/{pointer_token(error.column)}"
    return pointer if error.row is None else f"{pointer}/{error.row}"
