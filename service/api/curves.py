"""What a job came to: its loss curve, and its evaluation."""

import csv
import io
from typing import Any

from flask import Response, request

from service.api.answers import CONFLICT, NOT_FOUND, NOT_MODIFIED
from service.context import parts, project_id
from service.operations import Answer, Operations, answer, conditional
from service.schemas import jobs as schemas
from worker.errors import StateError
from worker.records.curves import read_curve
from worker.records.listing import get_job

operations = Operations("jobs")


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
    """The loss curve, as JSON columns or as CSV."""
    as_csv = request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv"
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        tag = f"{job.seq}-csv" if as_csv else str(job.seq)
        if request.if_none_match.contains(tag):
            points = []
        else:
            points = read_curve(session, job_id, after_epoch=query.after_epoch, max_points=query.max_points)
    metrics = sorted({name for point in points for name in point.metrics})
    columns = {
        "epochs": [point.epoch for point in points],
        "train_loss": [point.train_loss for point in points],
        "validation_loss": [point.validation_loss for point in points],
        "metrics": {name: [point.metrics.get(name) for point in points] for name in metrics},
        "learning_rate": [point.learning_rate for point in points],
        "gradient_norm": [point.gradient_norm for point in points],
        "layers": [point.layers for point in points],
        "seconds": [point.seconds for point in points],
    }
    response = _curve_csv(columns) if as_csv else answer(columns)
    response.vary.add("Accept")
    return conditional(response, tag)


def _curve_csv(columns: dict[str, Any]) -> Response:
    metrics = columns.pop("metrics")
    del columns["layers"]
    flat = {"epoch": columns.pop("epochs")} | columns | metrics
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(flat)
    writer.writerows(zip(*flat.values(), strict=True))
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8")


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/evaluation",
    policy="jobs:read",
    answers={200: Answer("Metrics, and where the network errs.", schemas.Evaluation), 404: NOT_FOUND, 409: CONFLICT},
)
def evaluation(job_id: str) -> Response:
    """How the result does on the validation and test parts."""
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
    if job.evaluation is None:
        raise StateError("a job is evaluated when it has succeeded", code="not_ready")
    return answer(job.evaluation)
