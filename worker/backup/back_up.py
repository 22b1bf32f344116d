"""Back up one moment of the database, with every object that it names, while everything runs."""

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, Table, inspect, select

from worker.backup.manifest import (
    OBJECTS,
    TABLES,
    Manifest,
    Missing,
    Stored,
    StoredTable,
    new_folder,
    stored,
    write_manifest,
)
from worker.backup.moment import check_there, moment, revision_of
from worker.backup.objects import Named, copy_object, named_objects, still_named
from worker.backup.rows import write_rows
from worker.data.storage import Storage
from worker.errors import StartError
from worker.records.clock import now
from worker.records.sessions import Database
from worker.records.tables import Base
from worker.runtime import version

LEFT_OUT = frozenset({"login_tokens", "ui_sessions", "workers"})
"Tables that mean nothing on another machine: links that log in once, sessions of browsers, and signs of life."
MOMENTS = 3


def back_up(database: Database, storage: Storage, folder: Path) -> Manifest:
    """Write a backup into a new folder. Raises StartError.

    An object that is missing or damaged is named in the manifest, and the rest is backed up.
    """
    check_there(database)
    with new_folder(folder) as partial:
        objects = _Objects(storage, partial / OBJECTS)
        # these are most of the bytes: copied first, little is left to copy after the moment
        with database.engine.connect() as connection:
            named = list(named_objects(connection))
        objects.copy(named)
        for _ in range(MOMENTS):
            with moment(database, partial) as connection:
                manifest = _write_tables(connection, partial)
                named = list(named_objects(connection))
            objects.copy(named)
            if not _deleted_meanwhile(database, objects.missing):
                break
        manifest = manifest.model_copy(update={"objects": objects.kept(named), "missing": objects.missing_of(named)})
        write_manifest(partial, manifest)
    return manifest


class _Objects:
    """The objects copied so far. They never change, so that none is copied twice."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        self._storage, self._folder = storage, folder
        self._copied: dict[str, Stored] = {}
        self.missing: dict[str, str] = {}

    def copy(self, named: Iterable[Named]) -> None:
        self.missing = {}
        for one in named:
            if one.key not in self._copied and (reason := self._copy(one)) is not None:
                self.missing[one.key] = reason

    def _copy(self, named: Named) -> str | None:
        """Return why it can't be copied; None if it was."""
        path = self._folder / named.key
        try:
            found = copy_object(self._storage, named.key, path)
        except FileNotFoundError:
            path.unlink()
            return "is not in the storage"
        difference = named.difference(found)
        if difference is None:
            self._copied[named.key] = found
        else:
            path.unlink()
        return difference

    def kept(self, named: Iterable[Named]) -> tuple[Stored, ...]:
        """Return the copies that the moment names, and remove the others: they were deleted before it."""
        keys = {one.key for one in named}
        for key in self._copied.keys() - keys:
            (self._folder / key).unlink()
        return tuple(self._copied[key] for key in sorted(self._copied.keys() & keys))

    def missing_of(self, named: Iterable[Named]) -> tuple[Missing, ...]:
        return tuple(Missing(key=one.key, reason=self.missing[one.key]) for one in named if one.key in self.missing)


def _deleted_meanwhile(database: Database, missing: dict[str, str]) -> bool:
    """Return whether one of these objects was deleted with its row since the moment: the next one does not name it."""
    if not missing:
        return False
    with database.engine.connect() as connection:
        return still_named(connection, missing) != set(missing)


def _write_tables(connection: Connection, folder: Path) -> Manifest:
    """Write every row of this moment."""
    written = []
    for table in _tables(connection):
        path = folder / TABLES / f"{table.name}.arrows"
        path.unlink(missing_ok=True)
        rows = write_rows(connection, table, path)
        file = stored(path, table.name)
        written.append(StoredTable(name=file.name, bytes=file.bytes, sha256=file.sha256, rows=rows))
    return Manifest(
        gradmill=version(),
        revision=str(revision_of(connection)),
        taken_at=connection.execute(select(now())).scalar_one(),
        database=connection.dialect.name,
        tables=tuple(written),
        objects=(),
    )


def _tables(connection: Connection) -> list[Table]:
    """Return our tables that this database has, each with the columns that it has: its schema may be an older one.

    Raises StartError for a column that this code does not know, which would be lost.
    """
    inspector = inspect(connection)
    present = set(inspector.get_table_names()) - LEFT_OUT
    return [
        _as_it_is(table, [column["name"] for column in inspector.get_columns(table.name)])
        for table in Base.metadata.sorted_tables
        if table.name in present
    ]


def _as_it_is(table: Table, names: list[str]) -> Table:
    if unknown := set(names) - set(table.columns.keys()):
        raise StartError(
            f"The table {table.name} has columns that gradmill does not know: {', '.join(sorted(unknown))}."
        )
    columns = [Column(one.name, one.type, primary_key=one.primary_key) for one in table.columns if one.name in names]
    return Table(table.name, MetaData(), *columns)
