"""Routes for a job's loss curve and its evaluation."""

from collections.abc import Iterator

from service.api.responses import CONFLICT, NOT_FOUND, NOT_MODIFIED
from service.conditional import conditional
from service.context import parts, project_id
from service.curve_columns import ROWS_AT_ONCE, CurveColumns, read_columns
from service.operations import Answer, Operations
from service.reply import JSON, Reply, answer
from service.request import request
from service.schemas import jobs as schemas
from worker.errors import StateError
from worker.records.blocks import read_layers
from worker.records.curves import read_thinned
from worker.records.jobs import get_job

operations = Operations("jobs")

CSV = "text/csv; charset=utf-8"


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/curve",
    policy="jobs:read",
    heavy=True,
    query=schemas.CurveQuery,
    headers={"If-None-Match": "An ETag: 304 if nothing changed."},
    answers={
        200: Answer("The curve so far.", schemas.Curve, ("application/json", "text/csv"), {"ETag": ""}),
        304: NOT_MODIFIED,
        404: NOT_FOUND,
    },
)
def curve(job_id: str, query: schemas.CurveQuery) -> Reply:
    """Show the loss curve, as JSON columns or as CSV."""
    as_csv = request().accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv"
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        tag = f"{job.seq}-csv" if as_csv else str(job.seq)
        is_known = request().if_none_match.contains(tag)
        columns = CurveColumns()
        if query.max_points is not None and not is_known:
            found = read_thinned(session, job_id, after_epoch=query.after_epoch, max_points=query.max_points)
            columns.add(found, read_layers(session, job_id, found))
    if query.max_points is None and not is_known:
        database = parts().database
        columns = read_columns(database, job_id, after_epoch=query.after_epoch, last_epoch=job.epoch)
    reply = curve_reply(columns.csv() if as_csv else columns.json(), CSV if as_csv else JSON, columns.length)
    reply.headers["Vary"] = "Accept"
    return conditional(reply, tag)


def curve_reply(text: Iterator[bytes], content_type: str, points: int) -> Reply:
    """Return the text of a curve, for the API and for the page. A long one is sent while it is written."""
    return Reply(text if points > ROWS_AT_ONCE else b"".join(text), content_type=content_type)


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/evaluation",
    policy="jobs:read",
    answers={200: Answer("Metrics, and where the network errs.", schemas.Evaluation), 404: NOT_FOUND, 409: CONFLICT},
)
def evaluation(job_id: str) -> Reply:
    """Show the metrics of the trained network on the validation and test parts."""
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
    if job.evaluation is None:
        raise StateError("a job is evaluated when it has succeeded", code="not_ready")
    return answer(job.evaluation)
