"""Fills a database: copies every row that is there many times, under new ids, as if it had been written long ago."""

import re
from typing import Any

from sqlalchemy import Column, Connection, Table, create_engine, text

from worker.records.clock import Instant
from worker.records.sessions import Database
from worker.records.tables import Base

ID = re.compile(r"^(id|key|storage_key|retry_of|\w+_id)$")
NOT_COPIED = {"projects", "api_keys", "workers", "job_counts", "job_count_changes"}
# large documents that no list shows; they would only make the copies slow
LEFT_OUT = {"evaluation", "certificate", "hints"}
DAYS_AGO = 400
TIME_DIGITS = 12
"An id is a prefix, an underscore, and a UUIDv7 whose first digits are its time."


def multiply(database: Database, rows: int) -> dict[str, int]:
    """Copy the rows of every table until each has about `rows`, and return how many rows each has now."""
    postgresql = database.engine.dialect.name == "postgresql"
    copies: dict[str, int] = {}
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE numbers (n INTEGER PRIMARY KEY, digits TEXT)"))
        values = [{"n": n, "digits": f"{n:0{TIME_DIGITS}x}"} for n in range(1, rows + 1)]
        connection.execute(text("INSERT INTO numbers VALUES (:n, :digits)"), values)
        for table in Base.metadata.sorted_tables:
            if table.name not in NOT_COPIED:
                copies[table.name] = _copy(connection, table, rows, copies, postgresql=postgresql)
        connection.execute(text("DROP TABLE numbers"))
        counted = "SELECT project_id, status, count(*) FROM jobs WHERE status IN ('succeeded', 'failed', 'cancelled')"
        connection.execute(text("DELETE FROM job_counts"))
        connection.execute(text(f"INSERT INTO job_counts (project_id, status, count) {counted} GROUP BY 1, 2"))
        connection.execute(text("DELETE FROM job_count_changes"))
        counts = {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in copies}
    if postgresql:
        # as autovacuum does; it can't be in a transaction, which every connection of ours begins. Nothing runs ANALYZE
        # on a SQLite file
        plain = create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
        with plain.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        plain.dispose()
    return counts


def _copy(connection: Connection, table: Table, rows: int, copies: dict[str, int], *, postgresql: bool) -> int:
    """Copy a table's rows, and return how often: no more often than the rows that they refer to."""
    there = connection.execute(table.select()).all()
    if not there:
        return 0
    parents = [copies[key.column.table.name] for key in table.foreign_keys if key.column.table.name in copies]
    times = min([-(-rows // len(there)), *parents])
    columns = {column.name: _copied(column, postgresql=postgresql) for column in table.columns}
    names = ", ".join(f'"{name}"' for name in columns)
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({names}) SELECT {', '.join(columns.values())} "
            f"FROM {table.name} AS t, numbers WHERE numbers.n <= {times}"
        )
    )
    return times


def _copied(known: Column[Any], *, postgresql: bool) -> str:
    """Return the SQL of a column of a copy."""
    name, column = known.name, f't."{known.name}"'
    if str(known) == "models.name":
        return f"{column} || '-' || numbers.n"
    if name in LEFT_OUT:
        return "NULL"
    if isinstance(known.type, Instant):
        if postgresql:
            return f"{column} - INTERVAL '{DAYS_AGO} days'"
        return f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{DAYS_AGO} days')"
    if name in ("sha256", "secret_sha256"):
        return f"numbers.digits || substr({column}, {TIME_DIGITS + 1})"
    if ID.match(name) and name not in ("project_id", "request_id"):
        # a prefix has three letters; a client's idempotency key is longer than that too
        return f"substr({column}, 1, 4) || numbers.digits || substr({column}, {5 + TIME_DIGITS})"
    return column
