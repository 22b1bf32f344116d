"""Routes for jobs: list, show, cancel, pause, resume and delete them."""

import re

from service.api.responses import CONFLICT, NOT_FOUND, NOT_MODIFIED, page
from service.conditional import conditional
from service.context import parts, project_id
from service.links import with_links
from service.operations import Answer, Operations
from service.problems import RETRY_AFTER, Problem, invalid_parameter
from service.reply import Reply, answer
from service.request import request
from service.schemas import jobs as schemas
from service.waiting import Waiting
from worker.records.jobs import delete_job, get_job, list_jobs, queue_positions
from worker.records.snapshots import brief, job_snapshot
from worker.records.states import FINAL, STATUSES, Change
from worker.records.tables import Job
from worker.records.transitions import change_status

operations = Operations("jobs")

WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,3})\b")
WAIT_LIMIT = 60

POLL_HEADERS = {
    "If-None-Match": "An ETag: 304 if nothing changed.",
    "Prefer": "wait=N: answer at the next change, or after N seconds (at most 60).",
}


@operations.declare(
    "GET",
    "/v1/jobs",
    policy="jobs:read",
    heavy=True,
    query=schemas.JobsQuery,
    answers={
        200: Answer("Newest first.", schemas.JobList, headers={"ETag": "", "Link": "The next page."}),
        304: NOT_MODIFIED,
    },
)
def index(query: schemas.JobsQuery) -> Reply:
    """List jobs."""
    wanted = query.status.split(",") if query.status else []
    unknown = [status for status in wanted if status not in STATUSES]
    if unknown:
        detail = f"should be among {', '.join(STATUSES)}"
        raise invalid_parameter([{"parameter": "status", "detail": detail}])
    with parts().database.reading() as session:
        jobs, cursor = list_jobs(
            session,
            project_id(),
            statuses=[status for status in STATUSES if status in wanted],
            name=query.name,
            tag=query.tag,
            before=query.cursor,
            limit=query.limit,
        )
        positions = queue_positions(session, jobs)
    data = [with_links(brief(job_snapshot(job)) | {"queue_position": positions.get(job.id)}) for job in jobs]
    return page(data, cursor is not None, cursor=cursor)


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>",
    policy="jobs:read",
    hot=True,
    headers=POLL_HEADERS,
    answers={200: Answer("The job.", schemas.Job, headers={"ETag": ""}), 304: NOT_MODIFIED, 404: NOT_FOUND},
)
def show(job_id: str) -> Reply | Waiting:
    """Show a job; with `Prefer: wait=20`, wait up to 20 seconds for its next change."""
    job, position = _job_and_position(job_id)
    wait = WAIT.search(request().headers.get("prefer", ""))
    if wait is None:
        return _shown(job, position)
    applied = {"Preference-Applied": f"wait={wait[1]}"}
    is_stale = request().if_none_match and not request().if_none_match.contains_weak(_tag(job, position))
    if is_stale or job.status in FINAL:
        return _shown(job, position, applied)
    watch = parts().live.watch(job_id, job.seq)
    if watch is None:
        raise Problem(503, "too many watchers; poll instead", headers=RETRY_AFTER)

    def then() -> Reply:
        return _shown(*_job_and_position(job_id), applied)

    return Waiting(watch, job.seq, min(int(wait[1]), WAIT_LIMIT), then)


def _shown(job: Job, position: int | None, headers: dict[str, str] | None = None) -> Reply:
    document = with_links(job_snapshot(job) | {"queue_position": position})
    return conditional(answer(document, headers=headers), _tag(job, position))


def _tag(job: Job, position: int | None) -> str:
    """Return the ETag of a job's document: its newest event, its place in the queue, and the model it serves."""
    model = None if job.model is None else f"{job.model['name']}.{job.model['version']}"
    return "-".join(str(part) for part in (job.seq, position, model) if part is not None)


def _job_and_position(job_id: str) -> tuple[Job, int | None]:
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        return job, queue_positions(session, [job]).get(job_id)


def change_job(job_id: str, change: Change) -> Job:
    """Carry out a change of status, and announce it to watchers and workers."""
    job = parts().database.write(lambda session: change_status(session, project_id(), job_id, change))
    parts().doorbell.announce(job_id)
    if job.status == "queued":
        parts().doorbell.ring(job_id)
    return job


def _declare_change(change: Change, sentence: str) -> None:
    def handler(job_id: str) -> Reply:
        return answer(with_links(job_snapshot(change_job(job_id, change))))

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
    "DELETE",
    "/v1/jobs/<job_id>",
    policy="jobs:write",
    answers={204: Answer("Gone, with all that it recorded.", None, ()), 404: NOT_FOUND, 409: CONFLICT},
)
def remove(job_id: str) -> Reply:
    """Delete a job that is not running."""
    parts().database.write(lambda session: delete_job(session, project_id(), job_id))
    parts().predictors.names_moved()
    return Reply(status=204)
