"""How many connections each process may open to PostgreSQL, and whether the server has room for them."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from worker.records.sessions import Database

WORKER_CONNECTIONS = 2
SWEEPER_CONNECTIONS = 1
TRAINING_CONNECTIONS = 2
"""One is kept. The other is opened while two threads of the process need one, and then closed: in a training process
the heartbeat renews the lease during a long write of the run; in a worker a job is rescued during the housekeeping."""
NEARLY_FULL = 0.8

ROOM = text(
    "SELECT current_setting('max_connections')::int,"
    " current_setting('superuser_reserved_connections')::int"
    # since PostgreSQL 16
    " + coalesce(current_setting('reserved_connections', true), '0')::int,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),"
    " pg_backend_pid()"
)


class Room(NamedTuple):
    """The connections of a server. used: how many are open, by anyone."""

    most: int
    reserved: int
    used: int

    def is_scarce(self, wanted: int) -> bool:
        """Return whether few connections are left, or none, once a process has opened as many as it may."""
        return self.used + wanted > NEARLY_FULL * (self.most - self.reserved)


def of_worker(processes: int) -> int:
    """Return how many connections a worker with this many training processes may open."""
    return WORKER_CONNECTIONS + SWEEPER_CONNECTIONS + TRAINING_CONNECTIONS * processes


def find_room(database: Database) -> Room | None:
    """Return the connections of the server; None for SQLite, behind a pooler such as pgbouncer, or if it is away."""
    if database.engine.dialect.name != "postgresql":
        return None
    try:
        with database.engine.connect() as connection:
            most, reserved, used, pid = connection.execute(ROOM).one()
            driver = connection.connection.driver_connection
    except SQLAlchemyError:
        return None
    # a pooler invents the number that a client gets at its start, and limits the connections itself
    is_direct = driver is not None and driver.info.backend_pid == pid
    return Room(most, reserved, used) if is_direct else None
