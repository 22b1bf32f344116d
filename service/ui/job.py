"""One job: its live page, its curve as a file, and the changes that its buttons ask for."""

import csv
import io
import shlex
from typing import Any

import orjson
from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from service.api.jobs import change_job
from service.context import parts, project_id
from service.ui.network import layer_rows
from service.ui.wording import curve_summary, took
from worker.records.curves import Point, read_curve
from worker.records.holding import FINAL
from worker.records.listing import get_job, queue_positions
from worker.records.snapshots import job_snapshot
from worker.records.tables import Job
from worker.records.transitions import CHANGES

TABLE_ROWS = 50
BUTTONS = ("pause", "resume", "cancel")
NAMED_FEATURES = 8


def page(job_id: str) -> Response:
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        position = queue_positions(session, [job]).get(job_id)
        points = read_curve(session, job_id, max_points=TABLE_ROWS)
    return Response(render_template("job.html", **_shown(job, position, points)), mimetype="text/html")


def change(job_id: str, change: str) -> Response:
    change_job(job_id, change)
    return redirect(url_for("ui.job", job_id=job_id), 303)


def curve_csv(job_id: str) -> Response:
    """The whole curve: a link can't ask the API for CSV, since a browser's Accept is its own."""
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        points = read_curve(session, job_id)
    metrics = metric_names(points)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["epoch", "train_loss", "validation_loss", "learning_rate", "gradient_norm", "seconds", *metrics])
    for point in points:
        losses = (point.epoch, point.train_loss, point.validation_loss)
        writer.writerow(
            [*losses, point.learning_rate, point.gradient_norm, point.seconds]
            + [point.metrics.get(name) for name in metrics]
        )
    headers = {"Content-Disposition": f'attachment; filename="{job_id}-curve.csv"'}
    return Response(text.getvalue(), headers=headers, content_type="text/csv; charset=utf-8")


def _shown(job: Job, position: int | None, points: list[Point]) -> dict[str, Any]:
    snapshot = job_snapshot(job) | {"queue_position": position}
    return {
        "job": snapshot,
        "seq": job.seq,
        "final": job.status in FINAL,
        "took": took(snapshot),
        "changes": [name for name in BUTTONS if CHANGES[name].get(job.status, job.status) != job.status],
        "points": points,
        "metrics": metric_names(points),
        "summary": curve_summary(points, job.best),
        "evaluation": job.evaluation or {},
        "layers": layer_rows(job),
        "spec": orjson.dumps(job.spec, option=orjson.OPT_INDENT_2).decode(),
        "curl": _curl(job),
    }


def metric_names(points: list[Point]) -> list[str]:
    return sorted({name for point in points for name in point.metrics})


def _curl(job: Job) -> str:
    """A prediction to copy: one row of zeros. A category is null, which is imputed: its values are not known here."""
    values = {feature["name"]: 0 if feature["type"] == "numeric" else None for feature in job.features}
    row = values if len(values) <= NAMED_FEATURES else list(values.values())
    body = shlex.quote(orjson.dumps({"rows": [row]}).decode())
    return (
        f"curl {request.host_url}v1/jobs/{job.id}/predict \\\n"
        '  -H "Authorization: Bearer $GRADMILL_API_KEY" \\\n'
        f'  -H "Content-Type: application/json" \\\n  -d {body}'
    )
