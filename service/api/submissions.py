"""Routes that submit a job, try a submission without storing it (dry_run), or submit a job again."""

import math
from typing import Any

from service.api.responses import INVALID, NO_ROOM, NOT_FOUND
from service.context import parts, project_id
from service.idempotency import HEADERS as IDEMPOTENCY
from service.idempotency import answered_once, replay_headers
from service.links import with_links
from service.operations import Answer, Operations
from service.parsing import read_json, validate
from service.reply import Reply, answer
from service.request import request, request_id
from service.schemas import jobs as schemas
from worker.intake.design import Design
from worker.records.idempotency import Answered, Request
from worker.records.jobs import get_job
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
        200: Answer("With dry_run: the job as it would be.", schemas.DryRun),
        422: INVALID,
        507: NO_ROOM,
    },
)
def submit(body: JobSpec, query: schemas.SubmitQuery) -> Reply:
    """Submit a job."""
    if query.dry_run:
        return answer(_dry_run(parts().intake.design(project_id(), body)))
    return _accepted(
        answered_once(lambda known: parts().intake.submit(project_id(), body, request=known, request_id=request_id()))
    )


@operations.declare(
    "POST",
    "/v1/jobs/<job_id>/retry",
    policy="jobs:write",
    accepts=("application/json",),
    documented_body=schemas.Retry,
    optional_body=True,
    headers=IDEMPOTENCY,
    answers={
        202: Answer("A new job.", schemas.Job, headers={"Location": "The new job."}),
        404: NOT_FOUND,
        422: INVALID,
        507: NO_ROOM,
    },
)
def retry(job_id: str) -> Reply:
    """Submit a job's specification again; members of the body override, as a JSON merge patch (RFC 7396)."""

    def submit_again(known: Request | None) -> Answered:
        with parts().database.reading() as session:
            document = get_job(session, project_id(), job_id).spec
        spec = validate(JobSpec, merge_patch(document, read_json()) if request().body else document)
        return parts().intake.submit(project_id(), spec, request=known, request_id=request_id(), retry_of=job_id)

    return _accepted(answered_once(submit_again))


OWN_NAMES = {"columns": 1.0, "class_weights": 1.0, "metadata": math.inf}
"The members in which the client chose the names, and how many levels deep."


def merge_patch(document: Any, patch: Any, *, own_levels: float = 0) -> Any:
    """Return the document changed by the patch. Source: RFC 7396, section 2.

    Unlike in the RFC, an object of another type, such as another optimizer, replaces the old one as a whole. And null
    for a member that is not there stays, to be refused if the specification has no such member.
    own_levels: the number of levels in which the client chose the names; there such a null does nothing.
    """
    if not isinstance(patch, dict):
        return patch
    same_kind = isinstance(document, dict) and all(
        patch.get(tag, document.get(tag)) == document.get(tag) for tag in ("type", "source")
    )
    merged = dict(document) if same_kind else {}
    for name, value in patch.items():
        if value is None and (own_levels > 0 or name in merged):
            merged.pop(name, None)
        else:
            levels = own_levels - 1 if own_levels > 0 else OWN_NAMES.get(name, 0)
            merged[name] = merge_patch(merged.get(name), value, own_levels=levels)
    return merged


def _accepted(answered: Answered) -> Reply:
    headers = {"Location": f"/v1/jobs/{answered.answer['id']}"} | replay_headers(answered)
    return answer(with_links(answered.answer), 202, headers)


def _dry_run(design: Design) -> dict[str, Any]:
    roles, cost = design.roles, design.cost
    return {
        "features": design.job_columns.features,
        "classes": design.job_columns.classes,
        "inputs": roles.inputs,
        "outputs": roles.outputs,
        "layers": cost.layers,
        "rows": design.parts,
        "parameters": cost.parameters,
        "memory_bytes": cost.memory_bytes,
        "flops": cost.flops,
        "remarks": [remark.model_dump() for remark in design.remarks],
        "spec": design.spec.model_dump(mode="json"),
    }
