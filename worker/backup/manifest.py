"""The manifest of a backup and its folder. It is written last: a folder without it is not a backup."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import StartError

FILE = "manifest.json"
TABLES = "tables"
OBJECTS = "objects"

# the names become paths
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Stored(BaseModel):
    """A file of a backup. name: the table's, or the key of the object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    bytes: int
    sha256: Sha256


class StoredTable(Stored):
    rows: int


class Missing(BaseModel):
    """An object that a row names and that could not be copied. reason: words that continue `the object`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str


class Manifest(BaseModel):
    """What a backup contains.

    gradmill, revision: the version that wrote it, and the schema of its rows. taken_at: by the database's clock.
    database: the kind that the rows came from. tables: each comes after those that it refers to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    gradmill: str
    revision: str
    taken_at: datetime
    database: str
    tables: tuple[StoredTable, ...]
    objects: tuple[Stored, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in (*self.tables, *self.objects))

    def files(self) -> Iterator[tuple[str, Stored]]:
        """Yield the path of each file within the folder, and what is known of it."""
        for table in self.tables:
            yield f"{TABLES}/{table.name}.arrows", table
        for stored in self.objects:
            yield f"{OBJECTS}/{stored.name}", stored


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a backup into, which gets its name only if all went well. Raises StartError.

    After an error it is removed. After a kill it remains under the name FOLDER.partial, without a manifest.
    """
    folder = folder.resolve()
    if folder.is_mount():
        raise StartError(f"{folder} is a mount point, which can't be renamed to: name a folder in it.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StartError(f"{folder} is not an empty folder: name one that does not exist yet.")
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise StartError(
            f"{partial} exists: a backup into it still runs, or was killed. Remove it, or name another folder."
        ) from error
    try:
        (partial / TABLES).mkdir()
        (partial / OBJECTS).mkdir()
        yield partial
        partial.rename(folder)
        sync(folder.parent)
    except BaseException:
        rmtree(partial, ignore_errors=True)
        raise


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole or not at all, once every other file of the folder is on the disk."""
    document = manifest.model_dump(mode="json")
    content = json.dumps({"sha256": _digest(document), "backup": document}, indent=1)
    new = folder / f"{FILE}.new"
    new.write_text(content + "\n")
    for path in (new, folder / TABLES, folder / OBJECTS):
        sync(path)
    new.rename(folder / FILE)
    sync(folder)


def read_manifest(folder: Path) -> Manifest:
    """Raises StartError if the folder holds no whole backup, or one of a version that this code does not know."""
    try:
        content = json.loads((folder / FILE).read_bytes())
        document = content["backup"]
        is_whole = content["sha256"] == _digest(document)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StartError(f"{folder} holds no whole backup: it has no {FILE}, which is written last.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(f"{folder / FILE} is damaged: it can't be read.") from error
    if not is_whole:
        raise StartError(f"{folder / FILE} is damaged: its content differs from its sha256.")
    try:
        return Manifest.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise StartError(f"{folder} is of another version's format: use the gradmill that wrote it.") from error


def damaged_files(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the path of each file that is not as the manifest says, and what is wrong with it."""
    for path, known in manifest.files():
        try:
            found = stored(folder / path, known.name)
        except FileNotFoundError:
            yield path, "is missing"
            continue
        if found.bytes != known.bytes:
            yield path, f"has {found.bytes} bytes instead of {known.bytes}"
        elif found.sha256 != known.sha256:
            yield path, "differs from its sha256"


def stored(path: Path, name: str) -> Stored:
    """Read a file, a part at a time, for its size and sha256."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Stored(name=name, bytes=file.tell(), sha256=sha256)


def sync(path: Path) -> None:
    """Have a file or a folder written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
