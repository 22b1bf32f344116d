"""Routes for a job's loss curve and its evaluation."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from flask import Response, request

from service.api.responses import CONFLICT, NOT_FOUND, NOT_MODIFIED
from service.context import parts, project_id
from service.operations import Answer, Operations, answer, conditional
from service.schemas import jobs as schemas
from worker.errors import StateError
from worker.records.curves import read_curve
from worker.records.jobs import get_job
from worker.records.points import FIGURES, Point

operations = Operations("jobs")

CSV = "text/csv; charset=utf-8"


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/curve",
    policy="jobs:read",
    query=schemas.CurveQuery,
    headers={"If-None-Match": "An ETag: 304 if nothing changed."},
    answers={
        200: Answer("The curve so far.", schemas.Curve, ("application/json", "text/csv"), {"ETag": ""}),
        304: NOT_MODIFIED,
        404: NOT_FOUND,
    },
)
def curve(job_id: str, query: schemas.CurveQuery) -> Response:
    """Show the loss curve, as JSON columns or as CSV."""
    as_csv = request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv"
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        tag = f"{job.seq}-csv" if as_csv else str(job.seq)
        if request.if_none_match.contains(tag):
            points = []
        else:
            points = read_curve(session, job_id, after_epoch=query.after_epoch, max_points=query.max_points)
    response = Response(curve_csv(points), content_type=CSV) if as_csv else answer(_columns(points))
    response.vary.add("Accept")
    return conditional(response, tag)


def _columns(points: Sequence[Point]) -> dict[str, Any]:
    """Return the columns of `schemas.Curve`, in its order. There `epoch` is called `epochs`."""
    columns: dict[str, Any] = {}
    for name in schemas.Curve.model_fields:
        if name == "metrics":
            columns[name] = {metric: [point.metrics.get(metric) for point in points] for metric in metric_names(points)}
        else:
            columns[name] = [getattr(point, "epoch" if name == "epochs" else name) for point in points]
    return columns


def curve_csv(points: Sequence[Point]) -> str:
    """Return the curve as CSV, for the API and for the page: a column for each figure, then one for each metric."""
    metrics = metric_names(points)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*FIGURES, *metrics])
    for point in points:
        figures = [getattr(point, name) for name in FIGURES]
        writer.writerow(figures + [point.metrics.get(name) for name in metrics])
    return text.getvalue()


def metric_names(points: Sequence[Point]) -> list[str]:
    return sorted({name for point in points for name in point.metrics})


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/evaluation",
    policy="jobs:read",
    answers={200: Answer("Metrics, and where the network errs.", schemas.Evaluation), 404: NOT_FOUND, 409: CONFLICT},
)
def evaluation(job_id: str) -> Response:
    """Show the metrics of the trained network on the validation and test parts."""
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
    if job.evaluation is None:
        raise StateError("a job is evaluated when it has succeeded", code="not_ready")
    return answer(job.evaluation)
