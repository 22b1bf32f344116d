"""Check: whether the record is whole and the storage has what it names. Reads only; deletes and repairs nothing."""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sqlalchemy import (
    Connection,
    ForeignKeyConstraint,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.exc import DatabaseError

from migrations.schema import is_current
from worker.backup.curves import curve_faults
from worker.backup.manifest import OBJECTS, damaged_files, read_manifest
from worker.backup.moment import check_there, moment
from worker.backup.objects import Named, named_objects, read_object, still_named
from worker.backup.restore import write_database
from worker.data.storage import Storage
from worker.errors import StartError
from worker.intake.objects import unknown_objects
from worker.records.sessions import Database
from worker.records.states import FINAL
from worker.records.tables import (
    Base,
    Blob,
    Checkpoint,
    Chunk,
    Event,
    HeldOut,
    Job,
    JobCount,
    JobCountChange,
    KeptStep,
    Weights,
)

OWNERS = (Weights, Checkpoint, KeptStep, HeldOut)
"The tables whose rows name a blob."
SHOWN = 20
"Findings by each query: a database that is damaged all over has too many to read."
CHUNKS_AT_ONCE = 4


@dataclass(frozen=True)
class Finding:
    """Something that a check found. subject: what it is about, such as `blob blb_...`. detail: words that continue it.

    is_fault: False for something whole that is only unused.
    """

    subject: str
    detail: str
    is_fault: bool = True


@dataclass
class Report:
    """The result of a check. counted: how many jobs, blobs and objects were checked."""

    counted: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not any(finding.is_fault for finding in self.findings)


def check(database: Database, storage: Storage) -> Report:
    """Check one moment of a database that may be in use, and its storage. Raises StartError if it is not ours."""
    check_there(database)
    try:
        with moment(database) as connection:
            if not is_current(connection):
                raise StartError("The database has an older schema: run `gradmill migrate` first.")
            report = check_rows(connection)
            named = list(named_objects(connection))
        report.findings += _objects(database, storage, named)
    except DatabaseError as error:
        cause = str(error.orig).partition("\n")[0]
        return Report(findings=[Finding("database", f"can't be read: {cause}")])
    report.counted["objects"] = len(named)
    return report


def check_rows(connection: Connection) -> Report:
    """Check all that the database alone can tell."""
    report = Report()
    for look in (_integrity, _references, _blobs, _published, _curves, _endings, _counts):
        report.findings += look(connection)
    for what, table in (("jobs", Job), ("blobs", Blob)):
        report.counted[what] = connection.scalar(select(func.count()).select_from(table)) or 0
    return report


def check_backup(folder: Path) -> Report:
    """Check the files of a backup, then restore it into a temporary database and check that.

    Raises StartError if the folder holds no whole backup.
    """
    manifest = read_manifest(folder)
    damaged = [Finding(path, reason) for path, reason in damaged_files(folder, manifest)]
    if damaged:
        return Report({"files": len(list(manifest.files()))}, damaged)
    with tempfile.TemporaryDirectory(prefix="gradmill-check-") as copies:
        database = Database(f"sqlite:///{Path(copies) / 'gradmill.db'}", pool_size=1)
        try:
            write_database(database, folder, manifest, lease_seconds=0)
            return check(database, Storage(str((folder / OBJECTS).resolve())))
        finally:
            database.close()


def _integrity(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        for (line,) in connection.execute(text(f"PRAGMA integrity_check({SHOWN})")):
            if line != "ok":
                yield Finding("database", line)


def _references(connection: Connection) -> Iterator[Finding]:
    """Find foreign keys without their row. A database does not check again what it has accepted once."""
    for table in Base.metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            for row in connection.execute(_dangling(table, constraint)):
                names = ", ".join(constraint.column_keys)
                yield Finding(
                    f"{table.name} {' '.join(map(str, row))}", f"its {names} is not in {constraint.referred_table.name}"
                )


def _dangling(table: Table, constraint: ForeignKeyConstraint) -> Select[*tuple[object, ...]]:
    parent = constraint.referred_table.alias()
    pairs = [(element.parent, parent.c[element.column.name]) for element in constraint.elements]
    given = and_(*[column.is_not(None) for column, _ in pairs])
    found = exists().where(*[column == other for column, other in pairs])
    return select(*table.primary_key.columns).where(given, ~found).limit(SHOWN)


def _blobs(connection: Connection) -> Iterator[Finding]:
    """Find published blobs whose bytes are incomplete or changed."""
    published = select(Blob.id, Blob.bytes, Blob.sha256).where(Blob.published.is_(True)).order_by(Blob.id)
    for blob_id, size, sha256 in connection.execute(published).all():
        chunks = select(Chunk.content).where(Chunk.blob_id == blob_id).order_by(Chunk.position)
        digest, found = hashlib.sha256(), 0
        for content in connection.scalars(chunks.execution_options(yield_per=CHUNKS_AT_ONCE)):
            digest.update(content)
            found += len(content)
        if found != size:
            yield Finding(f"blob {blob_id}", f"has {found} bytes; its row says {size}")
        elif digest.hexdigest() != sha256:
            yield Finding(f"blob {blob_id}", "differs from its sha256")


def _published(connection: Connection) -> Iterator[Finding]:
    """Find blobs that a row names and that will be swept, and published blobs that no row names."""
    named = [select(table.blob_id).where(table.blob_id == Blob.id) for table in OWNERS]
    used = or_(*[one.exists() for one in named])
    swept = select(Blob.id).where(Blob.published.is_(False), used).limit(SHOWN)
    for blob_id in connection.scalars(swept):
        yield Finding(f"blob {blob_id}", "is named by a row but not published, and will be swept")
    unused = select(Blob.id).where(Blob.published.is_(True), ~used).limit(SHOWN)
    for blob_id in connection.scalars(unused):
        yield Finding(f"blob {blob_id}", "is named by no row", is_fault=False)


def _curves(connection: Connection) -> Iterator[Finding]:
    """Find curves that are not whole."""
    for job_id, detail in islice(curve_faults(connection), SHOWN):
        yield Finding(f"job {job_id}", detail)


def _endings(connection: Connection) -> Iterator[Finding]:
    """Find jobs that did not end just once: one end event each, and one set of final weights if they succeeded."""
    final = select(func.count()).where(Weights.job_id == Job.id, Weights.kind == "final").scalar_subquery()
    ends = select(func.count()).where(Event.job_id == Job.id, Event.kind == "end").scalar_subquery()
    has_ended = Job.status.in_(FINAL)
    for number, expected, what in (
        (final, case((Job.status == "succeeded", 1), else_=0), "sets of final weights"),
        (ends, case((has_ended, 1), else_=0), "end events"),
    ):
        found = select(Job.id, Job.status, number).where(number != expected).limit(SHOWN)
        for job_id, status, count in connection.execute(found):
            yield Finding(f"job {job_id}", f"is {status} and has {count} {what}")


def _counts(connection: Connection) -> Iterator[Finding]:
    """Find counts of ended jobs that are not those of the jobs."""
    ended = select(Job.project_id, Job.status, -func.count()).where(Job.status.in_(FINAL))
    terms = union_all(
        select(JobCount.project_id, JobCount.status, JobCount.count.label("n")),
        select(JobCountChange.project_id, JobCountChange.status, JobCountChange.change),
        ended.group_by(Job.project_id, Job.status),
    ).subquery()
    key, surplus = (terms.c.project_id, terms.c.status), func.sum(terms.c.n)
    for project_id, status, number in connection.execute(select(*key, surplus).group_by(*key).having(surplus != 0)):
        yield Finding(
            f"project {project_id}", f"counts {abs(number)} {status} jobs too {'many' if number > 0 else 'few'}"
        )


def _objects(database: Database, storage: Storage, named: list[Named]) -> Iterator[Finding]:
    """Find objects that are missing or not as their row says, and those that no row names."""
    faults = {one.key: reason for one in named if (reason := difference(storage, one)) is not None}
    with database.engine.connect() as connection:
        # since the moment, rows may have been deleted with their objects
        present = still_named(connection, faults.keys())
    for key in sorted(faults.keys() & present):
        yield Finding(f"object {key}", faults[key])
    for key in unknown_objects(database, storage):
        yield Finding(f"object {key}", "is named by no row", is_fault=False)


def difference(storage: Storage, named: Named) -> str | None:
    """Return how an object differs from what its row says; None if it does not."""
    try:
        return named.difference(read_object(storage, named.key))
    except FileNotFoundError:
        return "is not in the storage"
    except OSError as error:
        return f"can't be read ({(error.strerror or type(error).__name__).lower()})"
