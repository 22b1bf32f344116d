"""Routes for the training steps whose tensors a job was asked to keep."""

from service.api.responses import NOT_FOUND
from service.conditional import conditional
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.reply import Reply, answer
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
    heavy=True,
    answers={
        200: Answer("In order; while the job trains, those that it has taken so far.", schemas.StepList),
        404: NOT_FOUND,
    },
)
def index(job_id: str) -> Reply:
    """List the training steps that a job kept: those in its `training.replay_steps`."""
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
            "A safetensors file of the tensors as training computed them. The batch: `x`, `targets`, `row_weights`. "
            "For each layer, (rows, units): `z.layers.N`, `a.layers.N`, `grad_a.layers.N`, `grad_z.layers.N`; for "
            "dropout `mask.layers.N`; for a normalisation `n.layers.N`. Under the names of a weights file: `before.`, "
            "`gradient.`, `update.`, `after.`, and `slots.NAME.` for the optimizer's state before the step. dL/dz "
            "includes the factor 1 / rows of the mean, so that gradient = x^T grad_z. The metadata have the epoch, the "
            "learning rate, the resolved network, the number of steps that the optimizer had made before, and the "
            "sha256 of the weights after the step.",
            None,
            (SAFETENSORS,),
        ),
        404: NOT_FOUND,
    },
)
def show(job_id: str, step: str) -> Reply:
    """Download every tensor of one training step, to follow it number by number."""
    if not (step.isascii() and step.isdecimal() and len(step) <= DIGITS):
        raise NotFoundError("a step is a number")
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        row, content = read_step(session, job_id, int(step))
    headers = {"Content-Disposition": f'attachment; filename="{job_id}-step-{row.number}.safetensors"'}
    return conditional(Reply(content, content_type=SAFETENSORS, headers=headers), row.blob_id)
