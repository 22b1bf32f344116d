"""`gradmill db`: back up, restore and check the database and the storage."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from service.starting import exiting_in_words
from service.up.folder import locked, tighten
from worker.backup.back_up import back_up
from worker.backup.check import Report, check, check_backup
from worker.backup.manifest import Manifest, read_manifest
from worker.backup.moment import check_there
from worker.backup.restore import restore
from worker.data.storage import Storage
from worker.errors import StartError, UnavailableError
from worker.intake.objects import unknown_objects
from worker.records.sessions import Database
from worker.records.space import compact
from worker.settings import Settings, read_settings

MEGABYTE = 1e6

data_dir_option = click.option(
    "--data-dir", envvar="GRADMILL_DATA_DIR", type=click.Path(path_type=Path), help="Folder of all data."
)
folder_argument = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def db() -> None:
    """Back up, restore and check the database and the uploads."""


@db.command("backup")
@folder_argument
@data_dir_option
def backup_command(folder: Path, data_dir: Path | None) -> None:
    """Write a backup into the new FOLDER, while everything runs.

    It holds one moment of the database and every upload and result that it names. Exits 1 if one of these is missing.
    """
    with _exiting_in_words(), _opened(_settings(data_dir)) as (database, storage):
        manifest = back_up(database, storage, folder)
    click.echo(f"Backed up {_amount(manifest)} to {folder}.")
    for missing in manifest.missing:
        click.echo(f"Not in the backup: object {missing.key} {missing.reason}.", err=True)
    sys.exit(1 if manifest.missing else 0)


@db.command("restore")
@folder_argument
@data_dir_option
def restore_command(folder: Path, data_dir: Path | None) -> None:
    """Restore the backup in FOLDER into an empty database and a storage.

    Jobs that ran wait again, and resume from their last checkpoint. A restore that was killed can be repeated.
    """
    with _exiting_in_words(), ExitStack() as held:
        settings = _settings(data_dir)
        # a folder that holds no backup is refused before the data folder is made
        read_manifest(folder)
        if not settings.database_url:
            held.enter_context(locked(settings.data_dir))
        database, storage = held.enter_context(_opened(settings))
        restored = restore(database, storage, folder, lease_seconds=settings.lease_seconds)
        tightened = None if settings.database_url else tighten(settings.data_dir)
    click.echo(f"Restored {_amount(restored.manifest)} from {folder}, as of {restored.manifest.taken_at:%F %T} UTC.")
    if tightened is not None:
        click.echo(tightened)
    if restored.present:
        click.echo(f"Of the objects, {restored.present} were in the storage already.")
    if restored.released:
        click.echo(f"Jobs and predictions that ran then, and were released: {restored.released}.")
    for missing in restored.manifest.missing:
        click.echo(f"The backup lacks the object {missing.key}: it {missing.reason} when it was taken.", err=True)


@db.command("check")
@click.option("--backup", "folder", type=click.Path(path_type=Path), help="Check this backup, not the database.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@data_dir_option
def check_command(folder: Path | None, as_json: bool, data_dir: Path | None) -> None:
    """Check that the record is whole and that the storage has what it names; exit 1 if not.

    Nothing is deleted or repaired.
    """
    with _exiting_in_words():
        if folder is not None:
            report = check_backup(folder)
        else:
            with _opened(_settings(data_dir)) as (database, storage):
                report = check(database, storage)
    _print(report, as_json=as_json)
    sys.exit(0 if report.is_sound else 1)


@db.command("unknown")
@data_dir_option
def unknown_command(data_dir: Path | None) -> None:
    """List the stored objects that the database does not know.

    They are uploads and results of a database that was lost, or newer than the one that was restored. Nothing is
    deleted, neither here nor by the workers.
    """
    with _exiting_in_words(), _opened(_settings(data_dir)) as (database, storage):
        check_there(database)
        keys = unknown_objects(database, storage)
    for key in keys:
        click.echo(key)


@db.command("compact")
@data_dir_option
def compact_command(data_dir: Path | None) -> None:
    """Give the space of deleted rows back to the disk at once. SQLite only; stop the service first.

    Workers give it back bit by bit, except in a file that was made by an older version: compact it once.
    """
    with _exiting_in_words(), _opened(_settings(data_dir)) as (database, _):
        check_there(database)
        freed = compact(database)
    click.echo(f"Gave back {freed / MEGABYTE:.1f} MB.")


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        findings = [asdict(finding) for finding in report.findings]
        click.echo(json.dumps({"sound": report.is_sound, "checked": report.counted, "findings": findings}, indent=2))
        return
    for finding in report.findings:
        click.echo(f"{'fault' if finding.is_fault else 'unused'}: {finding.subject} {finding.detail}")
    counted = ", ".join(_count(number, what) for what, number in report.counted.items())
    faults = sum(finding.is_fault for finding in report.findings)
    click.echo(f"Checked {counted or 'what could be read'}: {_count(faults, 'faults')}.")


def _amount(manifest: Manifest) -> str:
    rows = sum(table.rows for table in manifest.tables)
    size = f"{manifest.bytes / MEGABYTE:.1f} MB"
    return f"{_count(rows, 'rows')} and {_count(len(manifest.objects), 'objects')} ({size})"


def _count(number: int, plural: str) -> str:
    """Return such as `2 rows`, `1 row` or `no rows`."""
    return f"{number or 'no'} {plural.removesuffix('s') if number == 1 else plural}"


def _settings(data_dir: Path | None) -> Settings:
    return read_settings(Settings, **({} if data_dir is None else {"data_dir": data_dir}))


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Database, Storage]]:
    database = Database(settings.database, pool_size=1)
    try:
        yield database, Storage(settings.storage)
    finally:
        database.close()


@contextmanager
def _exiting_in_words() -> Iterator[None]:
    """Turn a foreseeable fault into one line on standard error and exit code 1. It never shows a database's URL."""
    with exiting_in_words():
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, UnavailableError) as error:
            raise StartError(f"The database can't be used: {_cause(error)}. Check GRADMILL_DATABASE_URL.") from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise StartError(f"{place}{error.strerror or error}.") from error


def _cause(error: Exception) -> str:
    """Return SQLite's own words, but only the name of another error: its text may hold values and addresses."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause) if isinstance(cause, sqlite3.Error) else type(cause).__name__
