"""What a specification comes to, before anything is stored or allocated."""

from dataclasses import dataclass

from worker.build.cost import Cost, check_steps, estimate_cost, part_rows
from worker.data.roles import Roles, assign_roles
from worker.records.submission import Plan
from worker.running.tables import Tables
from worker.settings import Limits
from worker.specs.job import Job


@dataclass(frozen=True)
class Planned:
    roles: Roles
    cost: Cost
    parts: dict[str, int]

    @property
    def plan(self) -> Plan:
        """What the record keeps of it."""
        roles = self.roles
        return Plan(
            features=[{"name": feature.name, "type": feature.type} for feature in roles.features],
            classes=None if roles.classes is None else list(roles.classes),
            parameters=self.cost.parameters,
            layers=self.cost.layers,
        )


def plan_job(spec: Job, project_id: str, tables: Tables, limits: Limits) -> Planned:
    """Raises SpecError where the specification, the table and the limits do not fit."""
    roles = assign_roles(spec, tables.profile(project_id, spec.dataset), limits)
    planned = Planned(roles, estimate_cost(spec, roles, limits), part_rows(spec, roles.rows))
    check_steps(spec.training, planned.parts["train"])
    return planned
