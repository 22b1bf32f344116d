"""Predictions of whole tables: listed, shown, their results fetched, deleted."""

from collections.abc import Iterator

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
from flask import Response, request

from service.api.answers import NOT_MODIFIED, page
from service.context import parts, project_id
from service.operations import Answer, Operations, answer, conditional
from service.predict import schemas
from service.predict.table_submission import with_links
from service.problems import Problem
from service.schemas.common import Page, ProblemDocument
from worker.data.arrow_streams import ARROW
from worker.data.readers import CSV
from worker.errors import NotFoundError
from worker.records.predictions import delete_prediction, get_prediction, list_predictions, prediction_snapshot
from worker.records.tables import Prediction

operations = Operations("tables")

PROBLEM = ("application/problem+json",)
NO_PREDICTION = Answer("No such prediction.", ProblemDocument, PROBLEM)
NDJSON = "application/x-ndjson"
RESULTS = (CSV, ARROW, NDJSON)


@operations.declare(
    "GET",
    "/v1/predictions",
    policy="models:read",
    query=Page,
    answers={200: Answer("Newest first.", schemas.TablePredictionList, headers={"ETag": ""}), 304: NOT_MODIFIED},
)
def index(query: Page) -> Response:
    """List predictions of whole tables."""
    with parts().database.reading() as session:
        rows, more = list_predictions(session, project_id(), before=query.cursor, limit=query.limit)
    return page([with_links(prediction_snapshot(row)) for row in rows], more)


@operations.declare(
    "GET",
    "/v1/predictions/<prediction_id>",
    policy="models:read",
    answers={
        200: Answer("The prediction.", schemas.TablePrediction, headers={"ETag": ""}),
        304: NOT_MODIFIED,
        404: NO_PREDICTION,
    },
)
def show(prediction_id: str) -> Response:
    """Show the prediction of a whole table."""
    return conditional(answer(with_links(prediction_snapshot(_found(prediction_id)))))


@operations.declare(
    "GET",
    "/v1/predictions/<prediction_id>/result",
    policy="models:read",
    answers={
        200: Answer("A row for each of the table's, in its order.", None, RESULTS, {"ETag": ""}),
        304: NOT_MODIFIED,
        404: NO_PREDICTION,
        409: Answer("It is not there yet, or the prediction failed.", ProblemDocument, PROBLEM),
    },
)
def result(prediction_id: str) -> Response:
    """Fetch what was predicted, as CSV, an Arrow stream or a JSON object a line."""
    row = _found(prediction_id)
    if row.storage_key is None:
        code = "failed" if row.status == "failed" else "not_ready"
        raise Problem(409, f"there is no result: the prediction is {row.status}", code=code)
    media_type = request.accept_mimetypes.best_match(RESULTS, CSV) or CSV
    # a result never changes: its key is its tag, with the form in which it is told
    tag = f"{row.storage_key}-{RESULTS.index(media_type)}"
    if request.if_none_match.contains(tag):
        return conditional(Response(content_type=media_type), tag)
    try:
        content = parts().storage.read(row.storage_key)
    except FileNotFoundError as error:
        # deleted since the look
        raise NotFoundError("there is no such prediction") from error
    response = Response(_told(content, media_type), content_type=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{row.id}.{EXTENSIONS[media_type]}"'
    response.set_etag(tag)
    return response


EXTENSIONS = {CSV: "csv", ARROW: "arrows", NDJSON: "jsonl"}


def _told(content: bytes, media_type: str) -> bytes | Iterator[bytes]:
    """The stored stream as it is, or a batch at a time in another form."""
    if media_type == ARROW:
        return content
    return _csv(content) if media_type == CSV else _json_lines(content)


def _csv(content: bytes) -> Iterator[bytes]:
    for n, batch in enumerate(pa.ipc.open_stream(pa.py_buffer(content))):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(batch, sink, pyarrow.csv.WriteOptions(include_header=n == 0))
        yield sink.getvalue().to_pybytes()


def _json_lines(content: bytes) -> Iterator[bytes]:
    for batch in pa.ipc.open_stream(pa.py_buffer(content)):
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist())


@operations.declare(
    "DELETE",
    "/v1/predictions/<prediction_id>",
    policy="models:predict",
    answers={204: Answer("Gone, with its result.", None, ()), 404: NO_PREDICTION},
)
def remove(prediction_id: str) -> Response:
    """Delete a prediction with its result; one that waits or runs is given up."""
    key = parts().database.write(lambda session: delete_prediction(session, project_id(), prediction_id))
    if key is not None:
        parts().storage.delete(key)
    return Response(status=204)


def _found(prediction_id: str) -> Prediction:
    with parts().database.reading() as session:
        return get_prediction(session, project_id(), prediction_id)
