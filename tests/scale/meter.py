"""Counts what each statement of the running code touches: buffers and rows on PostgreSQL, steps on SQLite."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine, event

EXPLAINED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
STEPS_AT_ONCE = 20
BOUND = re.compile(r"\((?:%\(\w+\)s(?:::\w+)?|\?)(?:, (?:%\(\w+\)s(?:::\w+)?|\?))+\)")
ROWS = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables"


class Cost(NamedTuple):
    """What one execution touched. unit: buffers, rows, results or steps."""

    unit: str
    amount: int


class Meter:
    """The most that each statement touched, by the step of the tour and its text."""

    def __init__(self) -> None:
        self.step = ""
        self.costs: dict[tuple[str, str, str], int] = {}

    def add(self, step: str, statement: str, cost: Cost) -> None:
        # lists of values have any length
        key = step, BOUND.sub("(...)", statement), cost.unit
        self.costs[key] = max(self.costs.get(key, 0), cost.amount)

    @contextmanager
    def watching(self, engine: Engine) -> Iterator[None]:
        """Count all that is executed on this engine."""
        watch = _Postgresql(self) if engine.dialect.name == "postgresql" else _Sqlite(self)
        event.listen(engine, "before_cursor_execute", watch.before)
        try:
            yield
        finally:
            watch.end()
            event.remove(engine, "before_cursor_execute", watch.before)


class _Postgresql:
    """Explains each statement before it is executed, and takes back what that did."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def before(
        self, connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if not statement.lstrip().startswith(EXPLAINED) or not self._meter.step:
            return
        values: Mapping[str, Any] = parameters[0] if many else parameters
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, psycopg.Connection)
        with raw.cursor() as cursor:
            cursor.execute("SAVEPOINT meter")
            try:
                before = cursor.execute(ROWS).fetchone()
                plan = cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", values)
                (found,) = plan.fetchone() or ("",)
                after = cursor.execute(ROWS).fetchone()
            except psycopg.IntegrityError:
                # the statement will fail in the same way, and the code knows what to do then
                return
            finally:
                cursor.execute("ROLLBACK TO SAVEPOINT meter")
        node = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
        buffers = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
        # what is updated or deleted is found by the node below
        results = max(one["Actual Rows"] for one in (node, *node.get("Plans", ())))
        self._meter.add(self._meter.step, statement, Cost("buffers", buffers))
        self._meter.add(self._meter.step, statement, Cost("results", int(results)))
        touched = int(after[0] - before[0]) if before and after else 0
        self._meter.add(self._meter.step, statement, Cost("rows", touched))

    def end(self) -> None:
        """There is nothing left to count."""


class _Sqlite:
    """Counts the steps of SQLite's virtual machine, which run while rows are fetched too."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._running: dict[int, list[Any]] = {}

    def before(
        self, connection: Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        self._finish(id(raw))
        if not self._meter.step:
            raw.set_progress_handler(None, 0)
            return
        running: list[Any] = [self._meter.step, statement, 0]
        self._running[id(raw)] = running

        def count() -> int:
            running[2] += STEPS_AT_ONCE
            return 0

        raw.set_progress_handler(count, STEPS_AT_ONCE)

    def _finish(self, key: int) -> None:
        running = self._running.pop(key, None)
        if running is not None and running[1].lstrip().startswith(EXPLAINED):
            self._meter.add(running[0], running[1], Cost("steps", running[2]))

    def end(self) -> None:
        for key in list(self._running):
            self._finish(key)
