"""The database's clock, as SQL. It is the only clock that decides about leases."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, ScalarSelect, Text, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class Instant(TypeDecorator[datetime]):
    """A moment in UTC: timestamptz on PostgreSQL, sortable text with milliseconds on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text() if dialect.name == "sqlite" else DateTime(timezone=True)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value.astimezone(UTC)


class now(FunctionElement[datetime]):  # noqa: N801 - reads as SQL
    """The time now, not the start of the transaction, which may have waited for a lock."""

    type = Instant()
    inherit_cache = True


class seconds_from_now(FunctionElement[datetime]):  # noqa: N801
    """The time this many seconds from now; a negative number is in the past."""

    type = Instant()
    inherit_cache = True


class seconds_since(FunctionElement[float]):  # noqa: N801
    """The seconds from a moment to now."""

    type = Float()
    inherit_cache = True


def fixed(moment: FunctionElement[datetime]) -> ScalarSelect[Any]:
    """Return the moment as one value for a whole statement, to compare a column with.

    PostgreSQL's clock goes on during a statement, so without this no index can find the rows before a moment. A value
    that is stored must not be fixed: a statement may wait for a lock.
    """
    return select(moment).scalar_subquery()


SQLITE_FORMAT = "'%Y-%m-%d %H:%M:%f'"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **_: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **_: Any) -> str:
    return f"strftime({SQLITE_FORMAT}, 'now')"


@compiles(seconds_from_now, "postgresql")
def _later_postgresql(element: seconds_from_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    seconds = compiler.process(element.clauses, **kwargs)
    return f"(clock_timestamp() + make_interval(secs => CAST({seconds} AS double precision)))"


@compiles(seconds_from_now, "sqlite")
def _later_sqlite(element: seconds_from_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    seconds = compiler.process(element.clauses, **kwargs)
    return f"strftime({SQLITE_FORMAT}, 'now', CAST({seconds} AS TEXT) || ' seconds')"


@compiles(seconds_since, "postgresql")
def _since_postgresql(element: seconds_since, compiler: SQLCompiler, **kwargs: Any) -> str:
    instant = compiler.process(element.clauses, **kwargs)
    return f"CAST(extract(epoch FROM clock_timestamp() - {instant}) AS double precision)"


@compiles(seconds_since, "sqlite")
def _since_sqlite(element: seconds_since, compiler: SQLCompiler, **kwargs: Any) -> str:
    instant = compiler.process(element.clauses, **kwargs)
    return f"((julianday('now') - julianday({instant})) * 86400.0)"
