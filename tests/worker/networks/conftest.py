"""A table with every kind of column, and jobs on it."""

from typing import Any

import numpy as np
import pyarrow as pa

from tests.conftest import spec_of
from worker.data.profiles import profile_table
from worker.data.roles import Roles, assign_roles
from worker.settings import Limits
from worker.specs.job import Job

ROWS = 60
GENERATOR = np.random.default_rng(2)
X, NOISE = GENERATOR.normal(size=(2, ROWS))
TABLE = pa.table(
    {
        "x": X,
        "kind": pa.array(["a", "b", None, "c"] * (ROWS // 4)),
        "grade": pa.array(["low", "high", "top"] * (ROWS // 3)),
        "label": np.where(X + NOISE > 0, "yes", "no"),
        "price": 100 + 20 * X + NOISE,
        "count": GENERATOR.poisson(3, ROWS),
        "red": (X > 0).astype(int),
        "round": (NOISE > 0).astype(int),
        "weight": GENERATOR.random(ROWS),
    }
)
LIMITS = Limits(categories=20, parameters=10_000, memory_bytes=10**7, flops=1e9)
FEATURES = ("x", "kind", "grade")


def job(training: dict[str, Any] | None = None, layers: list[Any] | None = None, **changes: Any) -> Job:
    """Return a job on the table, with three features and the target `label` by default."""
    document = {
        "features": FEATURES,
        "network": {"layers": layers if layers is not None else [{"type": "dense", "units": 4}]},
        "training": training or {},
    }
    return spec_of(**document | changes)


def roles_of(spec: Job) -> Roles:
    return assign_roles(spec, profile_table(TABLE, LIMITS), LIMITS)
