"""Routes that show the inside of a job's network: the certificate of its gradients, and histograms of each layer."""

from service.api.responses import CONFLICT, INVALID, NOT_FOUND
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.problems import Problem
from service.reply import Reply, answer
from service.schemas import insight as schemas
from worker.errors import QuestionError, StateError
from worker.insight.bounds import affordable_rows
from worker.insight.histograms import histograms_of
from worker.insight.questions import measured_rows, spread_rows
from worker.insight.subject import read_subject
from worker.records.jobs import get_job

operations = Operations("insight")


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/certificate",
    policy="jobs:read",
    answers={200: Answer("A verdict for each layer.", schemas.Certificate), 404: NOT_FOUND, 409: CONFLICT},
)
def certificate(job_id: str) -> Reply:
    """Show the check of a job's gradients: back-propagation against finite differences, layer by layer."""
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
    if job.certificate is None:
        raise StateError("a job gets its certificate when it succeeds", code="not_ready")
    return answer(job.certificate)


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/histograms",
    policy="jobs:read",
    query=schemas.HistogramsQuery,
    answers={
        200: Answer("Edges and counts by layer.", schemas.Histograms),
        404: NOT_FOUND,
        409: CONFLICT,
        422: INVALID,
    },
)
def histograms(job_id: str, query: schemas.HistogramsQuery) -> Reply:
    """Show how weights, activations and gradients are spread in each layer, at a checkpoint."""
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        rows = affordable_rows(job.parameters)
        try:
            subject = read_subject(session, job, query.checkpoint, member=query.member, rows=rows)
        except QuestionError as error:
            raise _of_parameter(error.pointer.strip("/"), error.detail, error.code) from error
    if query.layer is not None and query.layer >= len(subject.layers):
        raise _of_parameter("layer", f"must be from 0 to {len(subject.layers) - 1}", "invalid")
    table = parts().datasets.take(project_id(), subject.spec.dataset, lambda count: spread_rows(rows, count))
    try:
        x, y = measured_rows(subject, table)
    except QuestionError as error:
        raise _of_parameter("", error.detail, error.code) from error
    return answer(histograms_of(subject, x, y, bins=query.bins, layer=query.layer))


def _of_parameter(parameter: str, detail: str, code: str) -> Problem:
    errors = [{"parameter": parameter, "detail": detail} if parameter else {"detail": detail}]
    return Problem(422, "a parameter is not what this job takes", code=code, errors=errors)
