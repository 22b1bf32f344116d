"""The route that answers with the chain rule of a job's network, for one weight and some rows."""

from service.api.responses import CONFLICT, INVALID, NOT_FOUND
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.reply import Reply, answer
from service.schemas import chain_rule as schemas
from worker.insight import chain_rule as insight
from worker.insight.address import Address
from worker.insight.bounds import check_values
from worker.insight.questions import known_rows, posted_rows, table_rows
from worker.insight.subject import read_subject
from worker.records.jobs import get_job

operations = Operations("insight")


@operations.declare(
    "POST",
    "/v1/jobs/<job_id>/chain-rule",
    policy="jobs:read",
    body=schemas.ChainRuleRequest,
    answers={
        200: Answer("Every factor, the check, and the update.", schemas.ChainRule),
        404: NOT_FOUND,
        409: CONFLICT,
        422: INVALID,
    },
)
def chain_rule(job_id: str, body: schemas.ChainRuleRequest) -> Reply:
    """Explain one weight's gradient: dL/da x da/dz x dz/dw on real rows, checked by finite differences."""
    count = len(body.rows or body.dataset_rows or (0,))
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        if body.row is not None or body.dataset_row is not None:
            check_values(job.layers)
        subject = read_subject(session, job, str(body.checkpoint), member=body.member, rows=count)
    many = body.rows is not None or body.dataset_rows is not None
    targets = [body.target] if body.targets is None and body.target is not None else body.targets
    posted = body.rows if body.row is None else [body.row]
    if posted is not None:
        x, y = posted_rows(subject, posted, targets or [], many=many)
    else:
        wanted = body.dataset_rows or [body.dataset_row or 0]
        table = parts().datasets.take(project_id(), subject.spec.dataset, lambda n: known_rows(wanted, n, many=many))
        x, y = table_rows(subject, table, targets, many=many)
    asked = body.weight
    address = Address(asked.layer, asked.source, asked.to, asked.inner)
    names = body.dataset_rows or list(range(count))
    return answer(insight.chain_rule(subject, address, x, y, names if many else None))
