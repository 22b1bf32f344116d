"""What is to be predicted, by the body's media type, and how it is to be told."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from flask import request

from service.context import parts
from service.parsing import JSON_TYPE, check_surrogates, read_json, validate
from service.predict import schemas
from service.problems import Problem
from worker.data.arrow_streams import ARROW, read_arrow_stream
from worker.data.npy import NPY, read_npy
from worker.data.readers import CSV, read_table
from worker.errors import DataError
from worker.networks.predictor import Predictor
from worker.networks.rows import Encoded

BODIES = (JSON_TYPE, CSV, NPY, ARROW)
CELLS = {dict, list}


class Body(NamedTuple):
    """A JSON body: rows or columns; asked: the whole of it, but for those, where it has more than rows."""

    rows: list[Any] | None
    columns: dict[str, list[Any]] | None
    asked: schemas.PredictRequest | None


def read_rows(predictor: Predictor, body: Body | None) -> Encoded:
    """The rows as the network takes them. body: of JSON. Raises DataError, and a Problem for another body."""
    if body is not None:
        if body.rows is not None:
            return _within_limit(len(body.rows), lambda: predictor.rows.encode(body.rows or []))
        return _take_columns(predictor, body.columns or {})
    content, limits = request.get_data(), parts().settings.limits
    if request.mimetype == NPY:
        array = read_npy(content, limits)
        return _within_limit(len(array), lambda: predictor.rows.encode_array(array))
    if request.mimetype == CSV:
        table = read_table(content, CSV, limits, text=predictor.categories)
    elif request.mimetype == ARROW:
        table = read_arrow_stream(content, limits, text=predictor.categories)
    else:
        raise Problem(415, f"the body must be {', '.join(BODIES[:-1])} or {BODIES[-1]}")
    return _within_limit(table.num_rows, lambda: predictor.rows.encode_table(table))


def read_body() -> Body | None:
    """A JSON body; None for one of another type.

    By a parser that is fast and keeps the last of doubled members; cells are looked at when they are encoded.
    """
    if request.mimetype != JSON_TYPE:
        return None
    try:
        document = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        # the slow parser tells what is no JSON from a number that is only too large
        document = read_json()
        check_surrogates(request.get_data(), document)
    members: dict[str, Any] = document if isinstance(document, dict) else {}
    rows, columns = members.get("rows"), members.get("columns")
    rows = rows if isinstance(rows, list) and CELLS.issuperset(map(type, rows)) else None
    if rows is not None and len(members) == 1:
        return Body(rows, None, None)
    columns = columns if isinstance(columns, dict) and {list}.issuperset(map(type, columns.values())) else None
    # what was just seen to be rows or columns is not looked at again cell by cell
    seen: dict[str, Any] = {} if rows is None else {"rows": []}
    seen |= {} if columns is None else {"columns": {}}
    asked = validate(schemas.PredictRequest, members | seen if seen else document)
    return Body(rows if rows is not None else asked.rows, columns if columns is not None else asked.columns, asked)


def _take_columns(predictor: Predictor, columns: dict[str, list[Any]]) -> Encoded:
    longest = max(map(len, columns.values()), default=0)
    try:
        return _within_limit(longest, lambda: predictor.rows.encode_columns(columns))
    except DataError as error:
        fault: dict[str, Any] = {"pointer": _pointer(columns, error), "detail": error.detail}
        fault |= {name: value for name, value in (("row", error.row), ("column", error.column)) if value is not None}
        raise Problem(422, "the columns can't be used as they are", errors=[fault]) from error


def _pointer(columns: dict[str, list[Any]], error: DataError) -> str:
    if error.column not in columns:
        return "/columns"
    column = str(error.column).replace("~", "~0").replace("/", "~1")
    return f"/columns/{column}" if error.row is None else f"/columns/{column}/{error.row}"


def _within_limit(rows: int, take: Callable[[], Encoded]) -> Encoded:
    limit = parts().settings.predict_rows_limit
    if rows > limit:
        raise Problem(413, f"{rows} rows at once; the limit is {limit}")
    return take()
