"""The schemas of answers about the system itself."""

from datetime import datetime
from typing import Any, Literal

from service.schemas.common import Shown


class Health(Shown):
    status: Literal["alive"]


class Readiness(Shown):
    status: Literal["ready", "degraded", "unready"]
    database: str
    migrations: str
    broker: str
    workers: Literal["up", "none", "unknown"]
    "Whether a worker has shown a sign of life within a lease. Without one, jobs wait and predictions still work."


class WorkerShown(Shown):
    id: str
    hostname: str
    pid: int
    processes: int
    version: str
    started_at: datetime
    heartbeat_seconds_ago: float
    alive: bool
    "Whether its last heartbeat is younger than a lease. A silent worker is forgotten after a day."


class QueueShown(Shown):
    depth: int
    oldest_seconds: float | None
    running: int


class StorageShown(Shown):
    unknown_objects: int | None
    """How many stored objects the database does not know, at most 1000, looked for once a minute.

    They are never deleted; `gradmill db unknown` lists them. Null if the storage can't be listed.
    """


class System(Shown):
    version: str
    queue: QueueShown
    workers: list[WorkerShown]
    workers_state: Literal["up", "none"]
    "Whether any of the workers is alive."
    broker: Literal["up", "away"]
    database: str
    storage: StorageShown
    limits: dict[str, Any]
    versions: dict[str, str]
