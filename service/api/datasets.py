"""Routes for uploaded tables: store, list, show and delete them."""

import codecs
from typing import Any

import pyarrow as pa
from flask import request as form
from sqlalchemy.orm import Session

from service.api.responses import INVALID, NO_ROOM, gone, page, problem, tagged
from service.context import parts, project_id
from service.idempotency import HEADERS as IDEMPOTENCY
from service.idempotency import answered_once, replay_headers
from service.operations import Answer, Operations
from service.problems import Problem
from service.reply import Reply, answer
from service.request import request
from service.schemas import datasets as schemas
from service.schemas.common import Page
from worker.data.formats import MEDIA_TYPES
from worker.data.times import Form, TimeForm, shown_time
from worker.intake.datasets import reading_of
from worker.records.datasets import delete_dataset, get_dataset, list_datasets
from worker.records.idempotency import Answered, Made, Request, answer_once
from worker.records.snapshots import rfc3339
from worker.records.tables import Dataset

operations = Operations("datasets")

NO_DATASET = problem("No such dataset.")
MULTIPART = "multipart/form-data"
ENCODINGS = (
    *("ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso8859-1", "iso8859-2", "iso8859-15"),
    *("cp1250", "cp1251", "cp1252", "koi8-r", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
)
"What a client may name as the encoding of a CSV, as Python calls it."
PACKED = ("application/gzip", "application/zstd", "application/octet-stream")
ACCEPTED = (*MEDIA_TYPES, "text/tab-separated-values", *PACKED, MULTIPART)
"The bytes decide what a file is; its media type need not be right."
ROWS_BYTES_LIMIT = 8 * 2**20


@operations.declare(
    "POST",
    "/v1/datasets",
    policy="datasets:write",
    query=schemas.UploadQuery,
    accepts=ACCEPTED,
    headers=IDEMPOTENCY,
    answers={
        201: Answer("Stored.", schemas.Dataset, headers={"Location": "The dataset."}),
        200: Answer("The same bytes were uploaded before; this is that dataset.", schemas.Dataset),
        415: problem("No media type of a table, nor a multipart form."),
        422: INVALID,
        507: NO_ROOM,
    },
)
def upload(query: schemas.UploadQuery) -> Reply:
    """Upload a table, as the body or as multipart `file`: CSV, Parquet, JSON lines, Arrow, NPY, NPZ, or one packed."""

    def store(asked: Request | None) -> Answered:
        datasets, encoding = parts().datasets, _encoding()
        with datasets.upload(project_id(), query.name, _content(), declared=query.declared, encoding=encoding) as add:

            def make(session: Session) -> Made:
                dataset, is_new = add(session)
                return Made(_shown(dataset), dataset.id, is_new)

            return parts().database.write(
                lambda session: answer_once(session, project_id(), asked, lambda: make(session))
            )

    answered = answered_once(store)
    headers = {"Location": f"/v1/datasets/{answered.answer['id']}"} | replay_headers(answered)
    return answer(answered.answer, 201 if answered.new else 200, headers)


def _encoding() -> str | None:
    """Return the encoding that the client names, as Python calls it; None if it names none. Raises Problem."""
    charset = request().mimetype_params.get("charset")
    if charset is None:
        return None
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        name = ""
    if name not in ENCODINGS:
        raise Problem(415, f"the charset {charset[:64]!r} is not taken; send UTF-8")
    return name


def _content() -> bytes:
    """Return the bytes of the file, from the body or from its part `file`. Raises Problem."""
    content: bytes
    if request().mimetype in ACCEPTED[:-1]:
        return request().body
    if request().mimetype == MULTIPART:
        file = form.files.get("file")
        if file is None or len(form.files) != 1 or form.form:
            raise Problem(400, "a multipart upload has one part, named file")
        # the client's name and type for the file are ignored; only its bytes count
        content = file.read()
        return content
    raise Problem(415, f"the body must be {', '.join(ACCEPTED[:-1])}, or {MULTIPART} with a part named file")


@operations.declare(
    "GET",
    "/v1/datasets",
    policy="datasets:read",
    heavy=True,
    query=Page,
    answers=tagged("Newest first.", schemas.DatasetList),
)
def index(query: Page) -> Reply:
    """List uploaded tables."""
    with parts().database.reading() as session:
        rows, more = list_datasets(session, project_id(), before=query.cursor, limit=query.limit)
    return page([_shown(row) for row in rows], more)


@operations.declare(
    "GET",
    "/v1/datasets/<dataset_id>",
    policy="datasets:read",
    answers={200: Answer("The dataset.", schemas.Dataset), 404: NO_DATASET},
)
def show(dataset_id: str) -> Reply:
    """Show a table's columns."""
    with parts().database.reading() as session:
        return answer(_shown(get_dataset(session, project_id(), dataset_id)))


@operations.declare(
    "GET",
    "/v1/datasets/<dataset_id>/rows",
    policy="datasets:read",
    query=schemas.RowsQuery,
    answers={200: Answer("The first rows.", schemas.Rows), 404: NO_DATASET},
)
def rows(dataset_id: str, query: schemas.RowsQuery) -> Reply:
    """Show a table's first rows: fewer than asked for if they are long."""
    with parts().database.reading() as session:
        dataset = get_dataset(session, project_id(), dataset_id)
    table = parts().datasets.first_rows(dataset, query.limit, bytes_limit=ROWS_BYTES_LIMIT)
    while table.nbytes > ROWS_BYTES_LIMIT and table.num_rows > 1:
        # as objects and as text it takes several times that
        table = table.slice(0, table.num_rows // 2)
    forms = reading_of(dataset).forms
    columns = [_cells(column, forms.get(name)) for name, column in zip(table.column_names, table.columns, strict=True)]
    return answer({"columns": table.column_names, "rows": list(zip(*columns, strict=True))})


def _cells(column: pa.ChunkedArray, form: Form | None) -> list[Any]:
    """Return cells as JSON: times as they may be sent, not as the numbers that they were read as."""
    cells: list[Any] = column.to_pylist()
    if not isinstance(form, TimeForm):
        return cells
    return [None if cell is None else shown_time(cell, form) for cell in cells]


@operations.declare(
    "DELETE",
    "/v1/datasets/<dataset_id>",
    policy="datasets:write",
    answers={
        204: gone("Deleted."),
        404: NO_DATASET,
        409: problem("A job was trained on it."),
    },
)
def remove(dataset_id: str) -> Reply:
    """Delete a table that no job was trained on."""
    key = parts().database.write(lambda session: delete_dataset(session, project_id(), dataset_id))
    parts().storage.delete(key)
    return Reply(status=204)


def _shown(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "name": dataset.name,
        "rows": dataset.rows,
        # profiles of before have fewer members
        "columns": [
            {"counts": None, "not_numbers": None, "look": None} | column for column in dataset.profile["columns"]
        ],
        "remarks": dataset.profile.get("remarks", []),
        "bytes": dataset.bytes,
        "sha256": dataset.sha256,
        "media_type": dataset.profile.get("source") or dataset.media_type,
        "created_at": rfc3339(dataset.created_at),
    }
