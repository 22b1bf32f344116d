"""The route for what a cross-validation predicts for the rows that each of its networks did not train on."""

import io

from service.api.responses import NOT_FOUND, NOT_MODIFIED
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.reply import Reply
from service.result_files import RESULTS, result_file
from worker.records.held_out import read_held_out
from worker.records.jobs import get_job

operations = Operations("insight")


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/held-out",
    policy="jobs:read",
    answers={
        200: Answer("`row` of the job's table, from 0, the `fold` that had it, and the prediction.", None, RESULTS),
        304: NOT_MODIFIED,
        404: NOT_FOUND,
    },
)
def held_out(job_id: str) -> Reply:
    """Download the predictions for each row by the network that did not train on it: CSV, Arrow or lines of JSON."""
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        blob_id, content = read_held_out(session, job_id)
    return result_file(f"{job_id}-held-out", blob_id, lambda: io.BytesIO(content))
