"""The chain rule of a job's network: asked about one weight and some rows."""

from typing import Any

import numpy as np
from flask import Response

from service.api.answers import CONFLICT, INVALID, NOT_FOUND
from service.context import parts, project_id
from service.operations import Answer, Operations, answer
from service.schemas import chain_rule as schemas
from worker.backprop.arrays import Targets
from worker.data.encoders import Matrix, encode_table, encode_targets
from worker.errors import DataError, QuestionError
from worker.insight import chain_rule as insight
from worker.insight.address import Address
from worker.insight.bounds import check_values
from worker.insight.subject import Subject, read_subject
from worker.insight.targets import encode_target
from worker.networks.rows import RowEncoder
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
def chain_rule(job_id: str, body: schemas.ChainRuleRequest) -> Response:
    """Explain one weight's gradient: dL/da x da/dz x dz/dw on real rows, checked by finite differences."""
    count = len(body.rows or body.dataset_rows or (0,))
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
        if body.row is not None or body.dataset_row is not None:
            check_values(job.layers)
        subject = read_subject(session, job, str(body.checkpoint), member=body.member, rows=count)
    x, y = _dataset_rows(body, subject) if body.row is None and body.rows is None else _posted_rows(body, subject)
    asked = body.weight
    address = Address(asked.layer, asked.source, asked.to, asked.inner)
    names = body.dataset_rows if body.dataset_rows is not None else list(range(count))
    many = body.rows is not None or body.dataset_rows is not None
    return answer(insight.chain_rule(subject, address, x, y, names if many else None))


def _posted_rows(body: schemas.ChainRuleRequest, subject: Subject) -> tuple[Matrix, Targets]:
    """Rows of raw values, encoded as in training but in float64, and their targets."""
    rows = [body.row] if body.row is not None else body.rows or []
    try:
        x = RowEncoder(subject.encoders, np.float64).encode(rows).x
    except DataError as error:
        place = "/row" if body.row is not None else f"/rows/{error.row or 0}"
        column = "" if error.column is None else f"column {error.column[:64]!r} "
        raise QuestionError(place, column + error.detail) from error
    return x, _targets(body, subject, len(rows))


def _dataset_rows(body: schemas.ChainRuleRequest, subject: Subject) -> tuple[Matrix, Targets]:
    """Rows of the job's own table; a target that was posted goes before the table's."""
    table = parts().datasets.load(project_id(), subject.spec.dataset)
    rows = [body.dataset_row] if body.dataset_rows is None else body.dataset_rows
    for n, row in enumerate(rows):
        if row is not None and row >= table.num_rows:
            pointer = "/dataset_row" if body.dataset_rows is None else f"/dataset_rows/{n}"
            raise QuestionError(pointer, f"must be from 0 to {table.num_rows - 1}: the table has so many rows")
    chosen = table.take(rows)
    x = encode_table(chosen, subject.encoders, pool_unknown=True, dtype=np.float64)
    if body.target is not None or body.targets is not None:
        return x, _targets(body, subject, len(rows))
    return x, encode_targets(chosen, subject.encoders.target)


def _targets(body: schemas.ChainRuleRequest, subject: Subject, rows: int) -> Targets:
    given: list[Any] = body.targets if body.targets is not None else [body.target]
    if len(given) != rows:
        raise QuestionError("/targets", f"must be {rows}, one a row; got {len(given)}")
    pointers = ["/target"] if body.targets is None else [f"/targets/{n}" for n in range(rows)]
    counts = subject.task.loss == "poisson"
    encoded = [
        encode_target(value, subject.encoders.target, pointer, counts=counts)
        for value, pointer in zip(given, pointers, strict=True)
    ]
    return np.concatenate(encoded)
