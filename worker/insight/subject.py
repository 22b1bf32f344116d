"""What is asked about: one network of a job at one moment of its training, read from the record in float64."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sqlalchemy.orm import Session

from worker.backprop.arrays import Floats
from worker.backprop.losses.objective import Objective
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters, Views, windows
from worker.data.encoders import Encoders
from worker.errors import QuestionError
from worker.insight.bounds import check_cost
from worker.networks.layers import LAYERS, build_network
from worker.networks.task import Task, build_objective, recorded_task
from worker.records.checkpoints import newest_checkpoint
from worker.records.curves import recorded_rate
from worker.records.tables import Job as JobRow
from worker.records.tables import Weights
from worker.records.weights import newest_weights_id, read_weights
from worker.specs.job import Job
from worker.specs.network import ResolvedDense, ResolvedLayer


@dataclass(frozen=True)
class Moment:
    """kind: the final weights, a snapshot's, or those of the checkpoint from which the job would resume.

    epoch: the last that was completed; step: of the epoch after it, how many batches were taken.
    """

    kind: Literal["final", "snapshot", "checkpoint"]
    epoch: int
    step: int = 0


@dataclass(frozen=True)
class Subject:
    """parameters: of one member, float64. rate: the learning rate recorded last before this moment.

    slots: the optimizer's, and optimizer_steps how many it had made, where the moment is a checkpoint; else none and 0.
    """

    job_id: str
    spec: Job
    layers: list[ResolvedLayer]
    encoders: Encoders
    network: Network
    task: Task
    objective: Objective
    parameters: Parameters
    member: int
    moment: Moment
    rate: float
    slots: Mapping[str, list[Views]]
    optimizer_steps: int


def read_subject(session: Session, job: JobRow, checkpoint: str, *, member: int = 0, rows: int = 1) -> Subject:
    """checkpoint: `final`, an epoch, or `latest`: the final weights, else the newest that are stored.

    rows: how many will be asked about. Raises StateError(not_ready), NotFoundError for an epoch that was not kept, and
    QuestionError for a member that is not there or where it would cost too much.
    """
    spec = Job.model_validate(job.spec)
    members = spec.training.ensemble
    if member >= members:
        raise QuestionError("/member", f"must be from 0 to {members - 1}")
    check_cost(parameters=job.parameters, members=members, rows=rows)
    row, arrays = read_weights(session, newest_weights_id(session, job.id, checkpoint))
    layers = LAYERS.validate_python(row.network)
    encoders = Encoders.model_validate(row.encoders)
    network = build_network(layers, encoders.width)
    parameters = network.parameters(np.float64)
    resumed = _resumed(session, job, row) if checkpoint == "latest" else None
    slots: Mapping[str, Floats] = {}
    if resumed is None:
        kind: Literal["final", "snapshot"] = "final" if row.kind == "final" else "snapshot"
        moment, steps = Moment(kind, row.epoch), 0
        parameters.load(_of_member(arrays, member) if members > 1 else arrays)
    else:
        flat, moment, slots, steps = resumed
        parameters.flat[...] = flat[member] if members > 1 else flat
    output = layers[-1]
    assert isinstance(output, ResolvedDense)  # noqa: S101 - so it was resolved
    task = recorded_task(spec, encoders.target, output)
    rate = recorded_rate(session, job.id, moment.epoch)
    return Subject(
        job_id=job.id,
        spec=spec,
        layers=layers,
        encoders=encoders,
        network=network,
        task=task,
        objective=build_objective(task),
        parameters=parameters,
        member=member,
        moment=moment,
        rate=spec.training.optimizer.learning_rate if rate is None else rate,
        slots={
            name: _slot_views(slot[member] if members > 1 else slot, parameters, spec.frozen)
            for name, slot in slots.items()
        },
        optimizer_steps=steps,
    )


def _slot_views(slot: Floats, parameters: Parameters, frozen: int) -> list[Views]:
    """An optimizer's slot in the layout of the parameters; of frozen layers, of which it has none, zeros."""
    return windows(np.concatenate([np.zeros(parameters.size_of_first(frozen)), slot]), parameters.shapes)


def _of_member(arrays: Mapping[str, Floats], member: int) -> dict[str, Floats]:
    prefix = f"members.{member}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _resumed(session: Session, job: JobRow, row: Weights) -> tuple[Floats, Moment, dict[str, Floats], int] | None:
    """Weights, moment, slots and steps of the checkpoint that a job would resume from, if it is newer than `row`."""
    found = None if row.kind == "final" else newest_checkpoint(session, job.id)
    if found is None:
        return None
    checkpoint, state = found
    if (checkpoint.epoch, checkpoint.step) < (row.epoch, 0):
        return None
    slots = {
        name.removeprefix("optimizer."): array for name, array in state.arrays.items() if name.startswith("optimizer.")
    }
    moment = Moment("checkpoint", checkpoint.epoch, checkpoint.step)
    return state.arrays["parameters"], moment, slots, int(state.values["optimizer_steps"])


def describe(subject: Subject) -> dict[str, Any]:
    """Of which weights an answer speaks."""
    moment = subject.moment
    return {
        "job_id": subject.job_id,
        "checkpoint": {"kind": moment.kind, "epoch": moment.epoch, "step": moment.step},
        "member": subject.member,
    }
