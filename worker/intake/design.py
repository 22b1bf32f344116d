"""What a specification comes to, before anything is stored or allocated."""

from dataclasses import dataclass

from worker.data.roles import Roles, assign_roles
from worker.intake.cost import Cost, check_steps, estimate_cost, part_rows
from worker.intake.datasets import Datasets
from worker.intake.start import find_start
from worker.networks.layers import resolve_layers
from worker.networks.task import resolve_task
from worker.networks.warm_start import adopt_roles, check_start
from worker.records.submission import Plan
from worker.settings import Limits
from worker.specs.job import Job


@dataclass(frozen=True)
class Planned:
    """spec: with nothing in it left that could mean another thing later; source: the weights that it starts from."""

    spec: Job
    roles: Roles
    cost: Cost
    parts: dict[str, int]
    source: str | None = None

    @property
    def plan(self) -> Plan:
        """What the record keeps of it."""
        roles = self.roles
        return Plan(
            features=[{"name": feature.name, "type": feature.type} for feature in roles.features],
            classes=None if roles.classes is None else list(roles.classes),
            parameters=self.cost.parameters,
            layers=self.cost.layers,
            source=self.source,
        )


def plan_job(spec: Job, project_id: str, datasets: Datasets, limits: Limits) -> Planned:
    """Raises SpecError where the specification, the table and the limits do not fit."""
    planned = _planned(spec, project_id, datasets, limits)
    check_steps(planned.spec.training, planned.parts["train"])
    return planned


def _planned(spec: Job, project_id: str, datasets: Datasets, limits: Limits) -> Planned:
    if spec.start_from is None:
        roles = assign_roles(spec, datasets.profile(project_id, spec.dataset), limits)
        return Planned(spec, roles, estimate_cost(spec, roles, limits), part_rows(spec, roles.rows))
    with datasets.database.reading() as session:
        spec, weights_id, source = find_start(session, project_id, spec, spec.start_from)
    roles = adopt_roles(assign_roles(spec, datasets.profile(project_id, spec.dataset), limits), source)
    cost = estimate_cost(spec, roles, limits)
    layers = resolve_layers(spec, resolve_task(spec, roles), roles.columns)
    # what does not fit is told now, not by a worker
    check_start(spec, layers, roles.inputs, source)
    return Planned(spec, roles, cost, part_rows(spec, roles.rows), weights_id)
