"""The list of jobs, its rows for refreshing an open page, and an example job for an empty list."""

import re
from typing import Any

import orjson
from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from service.context import parts, project_id
from service.request import request_id
from service.ui.wording import headline_metric, took
from worker.records.job_counts import count_by_status
from worker.records.jobs import count_newer, list_jobs, queue_positions
from worker.records.snapshots import brief, job_snapshot
from worker.records.states import STATUSES, Status
from worker.specs.job import Job as JobSpec

PAGE_LENGTH = 50
NEWER_LIMIT = 100
ID = re.compile(r"job_[0-9a-f]{32}")
ALWAYS_SHOWN: tuple[Status, ...] = ("queued", "running", "succeeded", "failed", "cancelled")

EXAMPLE: dict[str, Any] = {
    "name": "xor",
    "dataset": {"source": "builtin", "name": "xor"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 8, "activation": "tanh"}]},
    "training": {"epochs": 2000, "batch_size": 4, "optimizer": {"type": "adam", "learning_rate": 0.01}},
}


def page() -> Response:
    example = orjson.dumps(EXAMPLE).decode()
    return Response(render_template("jobs.html", example=example, **_listed()), mimetype="text/html")


def rows() -> Response:
    """Return the part of the page that changes.

    Its rows begin at the job `top`, however many jobs are newer, so that an open page has news of those it shows.
    """
    response = Response(render_template("_jobs.html", **_listed()), mimetype="text/html")
    response.add_etag()
    return response.make_conditional(request)


def train_example() -> Response:
    answered = parts().intake.submit(project_id(), JobSpec.model_validate(EXAMPLE), request_id=request_id())
    return redirect(url_for("ui.job", job_id=answered.answer["id"]), 303)


def _listed() -> dict[str, Any]:
    status = next((known for known in STATUSES if known == request.args.get("status")), None)
    cursor, top = (request.args.get(name, "") for name in ("cursor", "top"))
    before = cursor if ID.fullmatch(cursor) else _next(top) if ID.fullmatch(top) else None
    with parts().database.reading() as session:
        counts = count_by_status(session, project_id())
        found, older = list_jobs(
            session,
            project_id(),
            statuses=[status] if status else [],
            before=before,
            limit=PAGE_LENGTH,
        )
        newer = 0
        if not cursor and ID.fullmatch(top):
            newer = count_newer(session, project_id(), top, status=status, limit=NEWER_LIMIT)
        positions = queue_positions(session, found)
        shown = [_row(brief(job_snapshot(job)) | {"queue_position": positions.get(job.id)}) for job in found]
    return {
        "jobs": shown,
        "total": sum(counts.values()),
        "filters": [(name, counts.get(name, 0)) for name in STATUSES if name in ALWAYS_SHOWN or counts.get(name)],
        "status": status,
        "cursor": cursor,
        "newer": f"{newer - 1}+" if newer == NEWER_LIMIT else str(newer),
        "older": older,
    }


def _next(job_id: str) -> str:
    """Return the id that follows this one, in the order of ids: a page before it begins with this one."""
    return f"job_{int(job_id.removeprefix('job_'), 16) + 1:032x}"


def _row(snapshot: dict[str, Any]) -> dict[str, Any]:
    return snapshot | {"metric": headline_metric(snapshot["latest"]), "took": took(snapshot)}
