"""Jobs: submit, list, show, change, delete; their curves and evaluations."""

import csv
import io
import re
import time
from typing import Any

from flask import Response, g, request, url_for

from service.context import parts, project_id
from service.idempotency import HEADERS as IDEMPOTENCY
from service.idempotency import REPLAYED, earlier_answer, idempotent_request
from service.operations import Answer, Operations, answer, conditional
from service.parsing import read_json, validate
from service.problems import Problem
from service.schemas import jobs as schemas
from service.schemas.common import ProblemDocument
from worker.errors import StateError
from worker.records.curves import read_curve
from worker.records.idempotency import Request
from worker.records.listing import delete_job, get_job, list_jobs, queue_positions
from worker.records.snapshots import Snapshot, brief, job_snapshot
from worker.records.submission import submit_job
from worker.records.tables import Job
from worker.records.transitions import ask
from worker.running.planning import Planned, plan_job
from worker.specs.dataset import InlineDataset
from worker.specs.job import Job as JobSpec

operations = Operations("jobs")

WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,3})\b")
WAIT_LIMIT = 60
FINAL = ("succeeded", "failed", "cancelled")

PROBLEM = ("application/problem+json",)
NOT_FOUND = Answer("No such job.", ProblemDocument, PROBLEM)
CONFLICT = Answer("The job's state has no such change.", ProblemDocument, PROBLEM)
INVALID = Answer("The body does not fit; `errors` point at the members.", ProblemDocument, PROBLEM)
NOT_MODIFIED = Answer("Unchanged since the given ETag.", None, ())

POLL_HEADERS = {
    "If-None-Match": "An ETag: 304 if nothing changed.",
    "Prefer": "wait=N: answer at the next change, or after N seconds (at most 60).",
}


@operations.declare(
    "POST",
    "/v1/jobs",
    policy="jobs:write",
    body=JobSpec,
    query=schemas.SubmitQuery,
    headers=IDEMPOTENCY,
    answers={
        202: Answer("Accepted; it is in the database.", schemas.Job, headers={"Location": "The job."}),
        200: Answer("With dry_run: what it would come to.", schemas.DryRun),
        422: INVALID,
    },
)
def submit(body: JobSpec, query: schemas.SubmitQuery) -> Response:
    """Submit a job."""
    if query.dry_run:
        return answer(_dry_run(body, plan_job(body, project_id(), parts().tables, parts().settings.limits)))
    known = idempotent_request()
    before = earlier_answer(known)
    return _accept(body, known) if before is None else _accepted(before, replayed=True)


@operations.declare(
    "POST",
    "/v1/jobs/<job_id>/retry",
    policy="jobs:write",
    accepts=("application/json",),
    headers=IDEMPOTENCY,
    answers={
        202: Answer("A new job.", schemas.Job, headers={"Location": "The new job."}),
        404: NOT_FOUND,
        422: INVALID,
    },
)
def retry(job_id: str) -> Response:
    """Submit a job's specification again; members of the body override, as a JSON merge patch (RFC 7396)."""
    known = idempotent_request()
    before = earlier_answer(known)
    if before is not None:
        return _accepted(before, replayed=True)
    with parts().database.reading() as session:
        document = get_job(session, project_id(), job_id).spec
    spec = validate(JobSpec, merge_patch(document, read_json()) if request.get_data(cache=True) else document)
    return _accept(spec, known, retry_of=job_id)


def merge_patch(document: Any, patch: Any) -> Any:
    """Source: RFC 7396, section 2. An object of another type, such as another optimizer, replaces the old one whole."""
    if not isinstance(patch, dict):
        return patch
    same_kind = isinstance(document, dict) and all(
        patch.get(tag, document.get(tag)) == document.get(tag) for tag in ("type", "source")
    )
    merged = dict(document) if same_kind else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _accept(spec: JobSpec, known: Request | None, *, retry_of: str | None = None) -> Response:
    """Commit, then ring: a broker that is away delays the job and loses nothing."""
    planned = plan_job(spec, project_id(), parts().tables, parts().settings.limits)
    if isinstance(spec.dataset, InlineDataset):
        stored = parts().tables.store_inline(project_id(), spec.dataset, f"rows of {spec.name}"[:200])
        spec = spec.model_copy(update={"dataset": stored})
    snapshot, replayed = parts().database.write(
        lambda session: submit_job(
            session,
            project_id(),
            spec,
            planned.plan,
            queued_limit=parts().settings.limits.queued_jobs,
            request=known,
            request_id=g.request_id,
            retry_of=retry_of,
        )
    )
    if not replayed:
        parts().doorbell.ring(snapshot["id"])
    return _accepted(snapshot, replayed=replayed)


def _accepted(snapshot: Snapshot, *, replayed: bool) -> Response:
    headers = {"Location": url_for("jobs.show", job_id=snapshot["id"])}
    if replayed:
        headers |= REPLAYED
    return answer(with_links(snapshot), 202, headers)


def _dry_run(spec: JobSpec, planned: Planned) -> dict[str, Any]:
    roles, cost = planned.roles, planned.cost
    return {
        "features": planned.plan.features,
        "classes": planned.plan.classes,
        "inputs": roles.inputs,
        "outputs": roles.outputs,
        "layers": cost.layers,
        "rows": planned.parts,
        "parameters": cost.parameters,
        "memory_bytes": cost.memory_bytes,
        "flops": cost.flops,
        "spec": spec.model_dump(mode="json"),
    }


@operations.declare(
    "GET",
    "/v1/jobs",
    policy="jobs:read",
    query=schemas.JobsQuery,
    answers={
        200: Answer("Newest first.", schemas.JobList, headers={"ETag": "", "Link": "The next page."}),
        304: NOT_MODIFIED,
    },
)
def index(query: schemas.JobsQuery) -> Response:
    """List jobs."""
    statuses = tuple(query.status.split(",")) if query.status else ()
    unknown = [status for status in statuses if status not in schemas.STATUSES]
    if unknown:
        detail = f"should be among {', '.join(schemas.STATUSES)}"
        raise Problem(
            422, "a parameter is not what this address takes", errors=[{"parameter": "status", "detail": detail}]
        )
    with parts().database.reading() as session:
        jobs, more = list_jobs(
            session,
            project_id(),
            statuses=statuses,
            name=query.name,
            tag=query.tag,
            before=query.cursor,
            limit=query.limit,
        )
        positions = queue_positions(session, jobs)
    data = [with_links(brief(job_snapshot(job)) | {"queue_position": positions.get(job.id)}) for job in jobs]
    return page(data, more)


def page(data: list[dict[str, Any]], more: bool) -> Response:
    """A page of a list, with a Link to the next and an ETag of its content."""
    cursor = data[-1]["id"] if more else None
    response = answer({"data": data, "has_more": more, "next_cursor": cursor})
    if cursor is not None:
        arguments = request.args.to_dict() | {"cursor": cursor}
        response.headers["Link"] = f'<{url_for(request.endpoint or "", **arguments)}>; rel="next"'
    return conditional(response)


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>",
    policy="jobs:read",
    headers=POLL_HEADERS,
    answers={200: Answer("The job.", schemas.Job, headers={"ETag": ""}), 304: NOT_MODIFIED, 404: NOT_FOUND},
)
def show(job_id: str) -> Response:
    """Show a job; with `Prefer: wait=20` at its next change."""
    job, position = _job_and_position(job_id)
    wait = WAIT.search(request.headers.get("Prefer", ""))
    stale = request.if_none_match and not request.if_none_match.contains_weak(_tag(job, position))
    if wait and not stale and job.status not in FINAL:
        seconds = min(int(wait[1]), WAIT_LIMIT)
        _wait_for_change(job, seconds)
        job, position = _job_and_position(job_id)
    response = answer(with_links(job_snapshot(job) | {"queue_position": position}))
    if wait:
        response.headers["Preference-Applied"] = f"wait={wait[1]}"
    return conditional(response, _tag(job, position))


def _tag(job: Job, position: int | None) -> str:
    return str(job.seq) if position is None else f"{job.seq}-{position}"


def _job_and_position(job_id: str) -> tuple[Job, int | None]:
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        return job, queue_positions(session, [job]).get(job_id)


def _wait_for_change(job: Job, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with parts().live.watching(job.id) as watch:
        if watch is None:
            raise Problem(503, "too many watchers; poll instead", headers={"Retry-After": "2"})
        while not watch.closed and (left := deadline - time.monotonic()) > 0:
            if watch.after(job.seq, left):
                return


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/curve",
    policy="jobs:read",
    query=schemas.CurveQuery,
    headers={"If-None-Match": POLL_HEADERS["If-None-Match"]},
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
        "seconds": [point.seconds for point in points],
    }
    response = _curve_csv(columns) if as_csv else answer(columns)
    response.vary.add("Accept")
    return conditional(response, tag)


def _curve_csv(columns: dict[str, Any]) -> Response:
    metrics = columns.pop("metrics")
    flat = {"epoch": columns.pop("epochs")} | columns | metrics
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(flat)
    writer.writerows(zip(*flat.values(), strict=True))
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8")


def _declare_change(change: str, sentence: str) -> None:
    def handler(job_id: str) -> Response:
        job = parts().database.write(lambda session: ask(session, project_id(), job_id, change))
        parts().doorbell.announce(job_id)
        if job.status == "queued":
            parts().doorbell.ring(job_id)
        return answer(with_links(job_snapshot(job)))

    handler.__name__ = change
    handler.__doc__ = sentence
    operations.declare(
        "POST",
        f"/v1/jobs/<job_id>/{change}",
        policy="jobs:write",
        answers={200: Answer("The job.", schemas.Job), 404: NOT_FOUND, 409: CONFLICT},
    )(handler)


_declare_change("cancel", "Cancel a job; one that runs stops at its next batch.")
_declare_change("pause", "Pause a job; one that runs takes a checkpoint at its next batch.")
_declare_change("resume", "Put a paused job back into the queue; it goes on from its checkpoint.")


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


@operations.declare(
    "DELETE",
    "/v1/jobs/<job_id>",
    policy="jobs:write",
    answers={204: Answer("Gone, with all that it recorded.", None, ()), 404: NOT_FOUND, 409: CONFLICT},
)
def remove(job_id: str) -> Response:
    """Delete a job that does not run."""
    parts().database.write(lambda session: delete_job(session, project_id(), job_id))
    return Response(status=204)


def with_links(snapshot: Snapshot) -> Snapshot:
    """The job with the addresses of what belongs to it."""
    own = f"/v1/jobs/{snapshot['id']}"
    names = ("curve", "events", "predict", "weights", "evaluation")
    links = {"self": own} | {name: f"{own}/{name}" for name in names} | {"page": f"/ui/jobs/{snapshot['id']}"}
    return snapshot | {"links": links}
