"""A schema that moves on while others work with the old one: expand first, contract in a later version."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    create_engine,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from migrations.schema import check_not_newer, configuration, is_current, upgrade
from tests.conftest import POSTGRESQL, missing
from tests.faults.invariants import recorded
from worker.backup.curves import curve_faults
from worker.errors import StartError
from worker.records.curves import read_curve
from worker.records.points import COLUMNS, Point
from worker.records.sessions import make_engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# tables that a later version has dropped, and the newest revision that has them: a worker of that version must be
# stopped before the migration, else its writes fail as a whole
DROPPED = {"epochs": "0013"}
SAMPLES = {str: "x", int: 1, float: 1.0, bool: False, bytes: b"x", dict: {}, datetime: datetime(2026, 1, 1, tzinfo=UTC)}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a database without a table."""
    if request.param == "sqlite":
        engine = make_engine(f"sqlite:///{tmp_path / 'empty.db'}")
        yield engine
        engine.dispose()
        return
    if request.getfixturevalue("_postgresql_url") is None:
        missing("PostgreSQL")
    server = create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    name = f"gradmill_empty_{tmp_path.name[-20:]}".lower().replace("-", "_")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = make_engine(server.url.set(database=name).render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def revisions() -> list[str]:
    """Return all revisions, from the first to the newest."""
    scripts = ScriptDirectory(str(Path(__file__).parents[2] / "migrations"))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def to(engine: Engine, revision: str) -> None:
    with engine.execution_options(writes=True).begin() as connection:
        command.upgrade(configuration(connection), revision)


def test_four_that_migrate_at_once_do_it_once(empty: Engine) -> None:
    """They wait for each other: none fails, and the schema and its one project are made once."""
    errors: list[Exception] = []

    def migrate() -> None:
        engine = make_engine(empty.url.render_as_string(hide_password=False))
        try:
            upgrade(engine)
        except Exception as error:  # noqa: BLE001 - whichever; the test tells
            errors.append(error)
        engine.dispose()

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with empty.connect() as connection:
        assert is_current(connection)
        assert connection.scalar(text("SELECT count(*) FROM projects")) == 1


@pytest.mark.parametrize("old", revisions()[:-1])
def test_what_an_old_worker_writes_is_taken_by_the_newest_schema(empty: Engine, old: str) -> None:
    """Rows of the old columns still fit: no column is gone, and no new one is required."""
    to(empty, old)
    known = MetaData()
    known.reflect(empty)
    to(empty, "head")
    with empty.execution_options(writes=True).begin() as connection:
        for table in known.sorted_tables:
            if table.name in DROPPED:
                assert old <= DROPPED[table.name]
            elif table.name != "alembic_version":
                write_and_read(connection, table)


def test_objects_that_are_stored_already_get_their_rows(empty: Engine) -> None:
    """Uploads and results from before revision 0009 are kept, with the size and digest that their rows have."""
    to(empty, "0008")
    known = MetaData()
    known.reflect(empty)
    rows = {
        "datasets": {"id": "dst_1", "storage_key": "dst_1", "bytes": 7, "sha256": "a" * 64},
        "predictions": {"id": "prd_1", "storage_key": "prd_2", "result_bytes": 9},
    }
    with empty.execution_options(writes=True).begin() as connection:
        for name, given in rows.items():
            columns = known.tables[name].columns
            sample = {column.name: SAMPLES[kind_of(column)] for column in columns if not column.nullable}
            connection.execute(insert(known.tables[name]).values(sample | {"project_id": "prj_default"} | given))
    upgrade(empty)
    with empty.connect() as connection:
        found = connection.execute(text("SELECT key, bytes, sha256, state FROM stored_objects ORDER BY key")).all()
    assert [tuple(row) for row in found] == [("dst_1", 7, "a" * 64, "kept"), ("prd_2", 9, None, "kept")]


@pytest.mark.parametrize("count", [5, 32, 33, 4200])
def test_curves_that_are_recorded_already_are_moved_and_back(empty: Engine, count: int) -> None:
    """Every epoch with its bits, figures of layers and summaries; a downgrade brings the same rows back."""
    to(empty, "0013")
    known = MetaData()
    known.reflect(empty)
    epochs = known.tables["epochs"]
    rows = [epoch_row(job, n) for job in ("job_1", "job_2") for n in range(1, count + (job == "job_1"))]
    with empty.execution_options(writes=True).begin() as connection:
        for job, last in (("job_1", count), ("job_2", count - 1)):
            columns = known.tables["jobs"].columns
            sample = {column.name: SAMPLES[kind_of(column)] for column in columns if not column.nullable}
            own = {"id": job, "project_id": "prj_default", "epoch": last, "seq": 2 * last + 1}
            connection.execute(insert(known.tables["jobs"]).values(sample | own))
        connection.execute(insert(epochs), rows)
    upgrade(empty)
    with Session(empty) as session:
        assert "epochs" not in inspect(empty).get_table_names()
        assert [*curve_faults(session.connection())] == []
        for job in ("job_1", "job_2"):
            of_job = [row for row in rows if row["job_id"] == job]
            assert read_curve(session, job) == [Point(**{name: row[name] for name in COLUMNS}) for row in of_job]
            assert recorded(session, job)["seq"].tolist() == [row["seq"] for row in of_job]
    with empty.execution_options(writes=True).begin() as connection:
        command.downgrade(configuration(connection), "0013")
        assert [*map(dict, connection.execute(select(epochs).order_by("job_id", "epoch")).mappings())] == rows
    with empty.connect() as connection:
        assert "epoch_blocks" not in inspect(connection).get_table_names()


def epoch_row(job: str, n: int) -> dict[str, Any]:
    layers = [{"units": 4, "weight_norm": 0.1 + 0.2, "dead_units": None}]
    metrics = {"a": 1 / n, "b": None} if n % 2 else {"a": -0.0, "c": n / 7}
    figures = {"train_loss": 1 / n, "validation_loss": None if n % 3 else n / 3, "gradient_norm": None if n % 5 else n}
    return {
        "job_id": job, "epoch": n, "seq": 2 * n + 1, "attempt": 1 + n // 30, **figures, "learning_rate": 0.1,
        "metrics": metrics, "seconds": n / 1000, "project_id": "prj_default",
        "layers": layers if n % 20 == 1 else None, "is_best": [None, True, False][n % 3],
    }  # fmt: skip


def write_and_read(connection: Connection, table: Table) -> None:
    """Insert, update and read a row with the old columns, as the old code would."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
    else:
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
    row = {column.name: SAMPLES[kind_of(column)] for column in table.columns}
    demanded = {
        column["name"]
        for column in inspect(connection).get_columns(table.name)
        if not column["nullable"] and column["default"] is None
    }
    assert demanded <= set(row), f"an old worker does not know {demanded - set(row)} of {table.name}"
    savepoint = connection.begin_nested()
    connection.execute(insert(table).values(row))
    own = [column == row[column.name] for column in table.primary_key]
    connection.execute(update(table).where(*own).values(row))
    assert connection.execute(select(table)).first() is not None
    savepoint.rollback()


def test_a_database_of_a_newer_version_is_let_alone(empty: Engine) -> None:
    """Neither a migration nor a start touches a revision that this code does not know."""
    upgrade(empty)
    with empty.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (upgrade, check_not_newer):
        with pytest.raises(StartError, match="revision 9999, which this version of gradmill does not know"):
            refused(empty)


def kind_of(column: Column[Any]) -> type:
    # SQLAlchemy gives no Python type for a JSON column, whose values may be of any
    return dict if isinstance(column.type, JSON) else column.type.python_type
