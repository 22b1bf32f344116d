"""Jobs come in: submitted, tried dry, or again."""

from typing import Any

from flask import Response, g, request, url_for

from service.api.answers import INVALID, NOT_FOUND, with_links
from service.context import parts, project_id
from service.idempotency import HEADERS as IDEMPOTENCY
from service.idempotency import REPLAYED, earlier_answer, idempotent_request
from service.operations import Answer, Operations, answer
from service.parsing import read_json, validate
from service.schemas import jobs as schemas
from worker.intake.design import Planned, plan_job
from worker.records.idempotency import Request
from worker.records.jobs import get_job
from worker.records.snapshots import Snapshot
from worker.records.submission import submit_job
from worker.specs.dataset import InlineDataset
from worker.specs.job import Job as JobSpec

operations = Operations("jobs")


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
        return answer(_dry_run(plan_job(body, project_id(), parts().datasets, parts().settings.limits)))
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
    planned = plan_job(spec, project_id(), parts().datasets, parts().settings.limits)
    spec = planned.spec
    if isinstance(spec.dataset, InlineDataset):
        stored = parts().datasets.store_inline(project_id(), spec.dataset, f"rows of {spec.name}"[:200])
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


def _dry_run(planned: Planned) -> dict[str, Any]:
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
        "spec": planned.spec.model_dump(mode="json"),
    }
