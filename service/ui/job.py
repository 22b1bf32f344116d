"""One job: its live page, its curve as a file, and its buttons, which change its status."""

import shlex
from typing import Any

import orjson
from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from service.api.curves import CSV, curve_reply
from service.api.jobs import change_job
from service.context import parts, project_id
from service.curve_columns import read_columns
from service.flask_front import to_response
from service.ui.network import layer_rows
from service.ui.wording import TABLE_COLUMNS, curve_summary, took
from worker.records.curves import read_curve
from worker.records.jobs import get_job, queue_positions
from worker.records.points import Point
from worker.records.snapshots import job_snapshot
from worker.records.states import FINAL, HELD, MOVES, Change
from worker.records.tables import Job

TABLE_ROWS = 50
BUTTONS: tuple[Change, ...] = ("pause", "resume", "cancel")
NAMED_FEATURES = 8


def page(job_id: str) -> Response:
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        position = queue_positions(session, [job]).get(job_id)
        points = read_curve(session, job_id, max_points=TABLE_ROWS)
    return Response(render_template("job.html", **_shown(job, position, points)), mimetype="text/html")


def change(job_id: str, change: Change) -> Response:
    change_job(job_id, change)
    return redirect(url_for("ui.job", job_id=job_id), 303)


def curve_file(job_id: str) -> Response:
    """Return the whole curve as CSV, for a link. A link can't use the API, since a browser sets the Accept header."""
    with parts().database.reading() as session:
        last = get_job(session, project_id(), job_id).epoch
    columns = read_columns(parts().database, job_id, after_epoch=0, last_epoch=last)
    reply = curve_reply(columns.csv(), CSV, columns.length)
    reply.headers["Content-Disposition"] = f'attachment; filename="{job_id}-curve.csv"'
    return to_response(reply)


def _shown(job: Job, position: int | None, points: list[Point]) -> dict[str, Any]:
    snapshot = job_snapshot(job) | {"queue_position": position}
    return {
        "job": snapshot,
        "seq": job.seq,
        "final": job.status in FINAL,
        "took": took(snapshot),
        "held": job.status in HELD,
        "changes": [name for name in BUTTONS if MOVES[job.status].asked.get(name, job.status) != job.status],
        "columns": TABLE_COLUMNS,
        "points": points,
        "metrics": sorted({name for point in points for name in point.metrics}),
        "summary": curve_summary(points, job.best),
        "evaluation": job.evaluation or {},
        "layers": layer_rows(job),
        "spec": orjson.dumps(job.spec, option=orjson.OPT_INDENT_2).decode(),
        "curl": _curl(job),
    }


def _curl(job: Job) -> str:
    """Return a command to copy that predicts one row of zeros. Categories are null: their values are not known here."""
    values = {feature["name"]: 0 if feature["type"] == "numeric" else None for feature in job.features}
    row = values if len(values) <= NAMED_FEATURES else list(values.values())
    body = shlex.quote(orjson.dumps({"rows": [row]}).decode())
    return (
        f"curl {request.host_url}v1/jobs/{job.id}/predict \\\n"
        '  -H "Authorization: Bearer $GRADMILL_API_KEY" \\\n'
        f'  -H "Content-Type: application/json" \\\n  -d {body}'
    )
