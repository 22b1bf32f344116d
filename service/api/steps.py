"""Training steps of which every tensor was kept, because the job asked for it."""

from flask import Response

from service.api.answers import NOT_FOUND
from service.context import parts, project_id
from service.operations import Answer, Operations, answer, conditional
from service.schemas import insight as schemas
from worker.errors import NotFoundError
from worker.records.jobs import get_job
from worker.records.kept_steps import list_steps, read_step

operations = Operations("insight")

SAFETENSORS = "application/octet-stream"
DIGITS = 15


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/steps",
    policy="jobs:read",
    answers={200: Answer("In order; of a job that still trains, those made so far.", schemas.StepList), 404: NOT_FOUND},
)
def index(job_id: str) -> Response:
    """List the training steps that a job keeps: those of its `training.replay_steps`."""
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        kept = list_steps(session, job_id)
    data = [
        {
            "step": step.number,
            "epoch": step.epoch,
            "bytes": size,
            "weights_sha256": step.weights_sha256,
            "link": f"/v1/jobs/{job_id}/steps/{step.number}",
        }
        for step, size in kept
    ]
    return answer({"data": data})


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/steps/<step>",
    policy="jobs:read",
    answers={
        200: Answer(
            "A safetensors file, as training computed it: `x`, `targets`, `row_weights`; `z.layers.N`, `a.layers.N`, "
            "`grad_a.layers.N` and `grad_z.layers.N` of each layer, (rows, units), `mask.layers.N` of dropout and "
            "`n.layers.N` of a normalisation; and as in a weights file `before.`, `gradient.`, `update.`, `after.` and "
            "the optimizer's `slots.NAME.` before the step. dL/dz carries the 1 / rows of the mean, so that "
            "gradient = x^T grad_z. In its metadata the epoch, the learning rate, the resolved network, the steps that "
            "the optimizer had made, and the sha256 of the weights that it ended in.",
            None,
            (SAFETENSORS,),
        ),
        404: NOT_FOUND,
    },
)
def show(job_id: str, step: str) -> Response:
    """Every tensor of one training step, to follow it number by number."""
    if not (step.isascii() and step.isdecimal() and len(step) <= DIGITS):
        raise NotFoundError("a step is a number")
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        row, content = read_step(session, job_id, int(step))
    response = Response(content, content_type=SAFETENSORS)
    response.headers["Content-Disposition"] = f'attachment; filename="{job_id}-step-{row.number}.safetensors"'
    return conditional(response, row.blob_id)
