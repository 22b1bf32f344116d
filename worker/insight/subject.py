"""The subject of a question: one network of a job at one moment of its training, read from the record in float64."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from sqlalchemy.orm import Session

from worker.backprop.arrays import Floats
from worker.backprop.losses.objective import Objective
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters, Views, windows
from worker.data.encoders import Encoders
from worker.errors import QuestionError
from worker.insight.bounds import check_cost
from worker.networks.task import Task, build_objective, recorded_task
from worker.networks.trained import Published, Trained, read_published
from worker.records.checkpoints import newest_checkpoint
from worker.records.curves import recorded_rate
from worker.records.tables import Job as JobRow
from worker.records.weights import find_weights_id
from worker.specs.job import Job
from worker.specs.network import ResolvedLayer


@dataclass(frozen=True)
class Moment:
    """When the weights were as they are.

    kind: `final`: the final weights. `snapshot`: weights stored at the end of an epoch. `checkpoint`: the weights in
        the state from which the job would resume.
    epoch: the last epoch that was completed.
    step: how many steps of the next epoch were taken.
    """

    kind: Literal["final", "snapshot", "checkpoint"]
    epoch: int
    step: int = 0


@dataclass(frozen=True)
class Subject:
    """A network with what is known about its training.

    trained: one network, in float64.
    member: its position in the job's ensemble; 0 if the job has one network.
    rate: the last learning rate that was recorded up to this moment.
    slots: the optimizer's slots if the moment is a checkpoint; otherwise empty.
    optimizer_steps: how many steps the optimizer had taken if the moment is a checkpoint; otherwise 0.
    """

    job_id: str
    spec: Job
    trained: Trained
    task: Task
    objective: Objective
    member: int
    moment: Moment
    rate: float
    slots: Mapping[str, list[Views]]
    optimizer_steps: int

    @property
    def layers(self) -> list[ResolvedLayer]:
        return list(self.trained.layers)

    @property
    def encoders(self) -> Encoders:
        return self.trained.encoders

    @property
    def network(self) -> Network:
        return self.trained.network

    @property
    def parameters(self) -> Parameters:
        return self.trained.parameters


class _Found(NamedTuple):
    """The weights of all members at one moment.

    flat: the weights in the layout of `Parameters`.
    slots: the optimizer's slots in the same layout, without frozen layers.
    optimizer_steps: how many steps the optimizer had taken.
    """

    flat: Floats
    moment: Moment
    slots: Mapping[str, Floats]
    optimizer_steps: int


def read_subject(session: Session, job: JobRow, checkpoint: str, *, member: int = 0, rows: int = 1) -> Subject:
    """Read a network of a job.

    checkpoint: `final`, the number of an epoch, or `latest`. `latest` means the final weights if the job has them;
        otherwise the newest of its snapshots and of the state from which it would resume. (Elsewhere, as for
        predictions, `latest` never means a resume state: see `records.weights.find_weights_id`.)
    member: the network's position in an ensemble.
    rows: how many rows the question is about.
    Raises StateError(not_ready), NotFoundError for an epoch that was not kept, and QuestionError for a member that does
    not exist or a question that costs too much.
    """
    spec = Job.model_validate(job.spec)
    members = spec.training.members
    if member >= members:
        raise QuestionError("/member", f"must be from 0 to {members - 1}")
    check_cost(parameters=job.parameters, members=members, rows=rows)
    published = read_published(session, find_weights_id(session, job.id, checkpoint))
    found = (_resumed(session, job, published) if checkpoint == "latest" else None) or _published(published)
    trained = published.trained.member(member, np.float64)
    # `member` has made arrays of its own
    trained.parameters.flat[...] = found.flat[member] if members > 1 else found.flat
    task = recorded_task(spec, trained.encoders.target, trained.architecture.output)
    rate = recorded_rate(session, job.id, found.moment.epoch)
    return Subject(
        job_id=job.id,
        spec=spec,
        trained=trained,
        task=task,
        objective=build_objective(task),
        member=member,
        moment=found.moment,
        rate=spec.training.optimizer.learning_rate if rate is None else rate,
        slots={
            name: _slot_views(slot[member] if members > 1 else slot, trained.parameters, spec.frozen)
            for name, slot in found.slots.items()
        },
        optimizer_steps=found.optimizer_steps,
    )


def _slot_views(slot: Floats, parameters: Parameters, frozen: int) -> list[Views]:
    """Return an optimizer's slot in the layout of the parameters, with zeros for frozen layers, which it leaves out."""
    return windows(np.concatenate([np.zeros(parameters.size_of_first(frozen)), slot]), parameters.shapes)


def _published(published: Published) -> _Found:
    kind: Literal["final", "snapshot"] = "final" if published.kind == "final" else "snapshot"
    return _Found(published.trained.parameters.flat, Moment(kind, published.epoch), {}, 0)


def _resumed(session: Session, job: JobRow, published: Published) -> _Found | None:
    """Return the state from which the job would resume; None unless it is at least as new as the published weights."""
    found = None if published.kind == "final" else newest_checkpoint(session, job.id)
    if found is None:
        return None
    checkpoint, state = found
    if (checkpoint.epoch, checkpoint.step) < (published.epoch, 0):
        return None
    slots = {
        name.removeprefix("optimizer."): array for name, array in state.arrays.items() if name.startswith("optimizer.")
    }
    moment = Moment("checkpoint", checkpoint.epoch, checkpoint.step)
    return _Found(state.arrays["parameters"], moment, slots, int(state.values["optimizer_steps"]))


def describe(subject: Subject) -> dict[str, Any]:
    """Return the part of an answer that says which weights it is about."""
    moment = subject.moment
    return {
        "job_id": subject.job_id,
        "checkpoint": {"kind": moment.kind, "epoch": moment.epoch, "step": moment.step},
        "member": subject.member,
    }
