"""Loads, profiles and stores the tables that a specification can name: generated, inline or uploaded ones."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy.orm import Session

from worker.data.inline import inline_table
from worker.data.pieces import Pieces, write_pieces
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import ARROW, read_pieces, read_table
from worker.data.reading import FORMER, UNDECLARED, Declared, Reading
from worker.data.remarks import table_remarks
from worker.data.sources import make_table
from worker.data.storage import Storage
from worker.errors import NotFoundError, SpecError, UnavailableError
from worker.intake.objects import discard_object, sweep_objects, write_object
from worker.intake.parsers import PRELOADED, Parsed, parse_rows, parse_table
from worker.records.datasets import add_dataset, find_same_bytes, get_dataset, get_pieces
from worker.records.sessions import Database
from worker.records.tables import Dataset
from worker.sandbox import MEMORY_BYTES, Sandbox
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset, GeneratedDataset, InlineDataset, StoredDataset
from worker.specs.dataset import Dataset as DatasetSpec

AddDataset = Callable[[Session], tuple[Dataset, bool]]
"Adds the row of a table; returns it, or the row with the same bytes, and whether it is new."


PART_BYTES = 2**20
"""The longest part of a table that is parsed in the process that asks: some milliseconds, and a few times its bytes.

The same parser has read the same cells in the sandbox before, or we wrote them ourselves; more is parsed there too.
"""


class InlineRows(NamedTuple):
    """The rows of a request, parsed and profiled."""

    table: pa.Table
    profile: TableProfile


class Datasets:
    """Loads, profiles and stores the tables of jobs and of predictions."""

    def __init__(self, database: Database, storage: Storage, limits: Limits, sandbox: Sandbox | None = None) -> None:
        """sandbox: where uploads are read; None for one with the usual limit."""
        self.database, self._storage, self._limits = database, storage, limits
        self._sandbox = sandbox or Sandbox(PRELOADED, memory_bytes=MEMORY_BYTES)
        # a built-in or generated table is the same each time, so its profile is too
        self._profile_made = lru_cache(maxsize=64)(lambda spec: profile_table(make_table(spec), limits))

    def load(self, project_id: str, spec: DatasetSpec, *, text: Collection[str] = ()) -> pa.Table:
        """Return the table. Raises SpecError if the upload does not exist, DataError if its bytes can't be read.

        text: the names of columns of an upload to read as text whatever their cells look like, such as a model's
            categories.
        """
        match spec:
            case InlineDataset():
                return inline_table(spec)
            case StoredDataset():
                return self.read(self._stored(project_id, spec), text=text)
            case BuiltinDataset() | GeneratedDataset():
                return make_table(spec)

    def profile(self, project_id: str, spec: StoredDataset | BuiltinDataset | GeneratedDataset) -> TableProfile:
        """Return the profile without opening the upload. Raises SpecError if the upload does not exist."""
        if isinstance(spec, StoredDataset):
            return TableProfile.model_validate(self._stored(project_id, spec).profile)
        return self._profile_made(spec)

    def parse_rows(self, spec: InlineDataset) -> InlineRows:
        """Parse and profile the rows of a request, once for all later uses. Raises SpecError."""
        table = inline_table(spec)
        if table.num_rows > self._limits.rows:
            raise SpecError("/dataset/rows", f"has {table.num_rows} rows; the limit is {self._limits.rows}")
        profile = profile_table(table, self._limits)
        return InlineRows(table, profile.model_copy(update={"remarks": table_remarks(profile)}))

    def store(self, project_id: str, name: str, content: bytes) -> tuple[Dataset, bool]:
        """Store an upload. Return its row and whether it is new; the same table gets the same row. Raises DataError."""
        with self.upload(project_id, name, content) as add:
            return self.database.write(add)

    def store_rows(self, project_id: str, name: str, rows: InlineRows) -> StoredDataset:
        """Store the rows of a request as a dataset; return the specification that names it."""
        content, pieces = write_pieces(rows.table)
        with self.upload(project_id, name, content, parsed=Parsed(rows.profile, pieces, ARROW, None)) as add:
            dataset, _ = self.database.write(add)
        return StoredDataset(source="stored", id=dataset.id)

    @contextmanager
    def upload(
        self,
        project_id: str,
        name: str,
        content: bytes,
        *,
        declared: Declared = UNDECLARED,
        encoding: str | None = None,
        parsed: Parsed | None = None,
    ) -> Iterator[AddDataset]:
        """Write a table, and yield the function that adds its row within the caller's transaction.

        Bytes for which no row was added in the end are deleted.
        declared, encoding: what the client says of how the file is to be read.
        parsed: what is known about the table; None: it is read from the file. Raises DataError.
        """
        known, sha256 = self._find_same(project_id, content)
        if known is None or declared != UNDECLARED or encoding is not None:
            # the same bytes may have been read otherwise
            parsed = parsed or parse_table(self._sandbox, content, self._limits, declared, encoding)
            content = content if parsed.content is None else parsed.content
            known, sha256 = self._find_same(project_id, content)
        if known is not None:
            if not self._storage.has(known.storage_key):
                # the row outlived its object, which an upload of the same bytes brings back
                self._storage.write(known.storage_key, content)
            yield lambda session: (_find_again(session, project_id, sha256), False)
            return
        assert parsed is not None  # noqa: S101 - a table that is not known was parsed
        profile, pieces, media_type, _ = parsed
        key = write_object(self.database, self._storage, project_id, "dst", content, sha256=sha256)
        values: dict[str, Any] = {"content_bytes": len(content), "sha256": sha256, "rows": profile.rows}
        values |= {"name": name, "media_type": media_type, "profile": profile.model_dump(mode="json")}
        values |= {"pieces": None if pieces is None else pieces.pack()}
        is_kept = False

        def add(session: Session) -> tuple[Dataset, bool]:
            nonlocal is_kept
            dataset = add_dataset(session, project_id, dataset_id=key, storage_key=key, **values)
            is_kept = dataset.id == key
            return dataset, is_kept

        try:
            yield add
        finally:
            if not is_kept:
                # another request with the same bytes or the same key was first, or this one failed
                discard_object(self.database, self._storage, key)

    def _find_same(self, project_id: str, content: bytes) -> tuple[Dataset | None, str]:
        """Return the row of a table that is stored in these bytes, and their digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        with self.database.reading() as session:
            return find_same_bytes(session, project_id, sha256), sha256

    def sweep(self) -> int:
        """Delete the stored objects that were abandoned, for two seconds at most, and return how many."""
        return sweep_objects(self.database, self._storage)

    def take(self, project_id: str, spec: DatasetSpec, choose: Callable[[int], Sequence[int]]) -> pa.Table:
        """Return some rows of a table, without having the whole of an upload in this process.

        choose: given how many rows the table has, returns the numbers of the rows, from 0.
        Raises SpecError if the upload does not exist, DataError if its bytes can't be read.
        """
        if not isinstance(spec, StoredDataset):
            table = self.load(project_id, spec)
            return table.take(choose(table.num_rows))
        dataset = self._stored(project_id, spec)
        return self._take(dataset, self._pieces(dataset), choose(dataset.rows))

    def first_rows(self, dataset: Dataset, most: int, *, bytes_limit: int) -> pa.Table:
        """Return at most this many of the first rows of an upload, by its row.

        bytes_limit: how many bytes of the upload are read at most, unless one row is longer.
        """
        pieces = self._pieces(dataset)
        if pieces is not None:
            most = min(most, pieces.rows_within(bytes_limit))
        return self._take(dataset, pieces, range(min(most, dataset.rows)))

    def _pieces(self, dataset: Dataset) -> Pieces | None:
        with self.database.reading() as session:
            packed = get_pieces(session, dataset.id)
        return None if packed is None else Pieces.unpack(packed)

    def _take(self, dataset: Dataset, pieces: Pieces | None, rows: Sequence[int]) -> pa.Table:
        kind, reading = dataset.media_type, reading_of(dataset)
        if pieces is None:
            content = self._storage.read(dataset.storage_key)
            return parse_rows(self._sandbox, content, kind, self._limits, rows=rows, reading=reading)
        part = pieces.find(rows)
        content = self._storage.read_ranges(dataset.storage_key, part.ranges)
        if len(content) > PART_BYTES:
            known: dict[str, Any] = {"rows": part.positions, "reading": reading, "types": pieces.types}
            return parse_rows(self._sandbox, content, kind, self._limits, **known)
        return read_pieces(content, kind, pieces.types, self._limits, reading).take(part.positions)

    def read(self, dataset: Dataset, *, text: Collection[str] = ()) -> pa.Table:
        """Return an uploaded table, by its row."""
        content, reading = self._storage.read(dataset.storage_key), reading_of(dataset)
        return read_table(content, dataset.media_type, self._limits, reading=reading, text=text)

    def _stored(self, project_id: str, spec: StoredDataset) -> Dataset:
        try:
            with self.database.reading() as session:
                return get_dataset(session, project_id, spec.id)
        except NotFoundError as error:
            raise SpecError("/dataset/id", "there is no such dataset") from error


def reading_of(dataset: Dataset) -> Reading:
    """Return how the table was read when it was stored: what was not found then is not looked for again."""
    return Reading.model_validate(dataset.profile.get("reading", FORMER)).model_copy(update={"finds_forms": False})


def _find_again(session: Session, project_id: str, sha256: str) -> Dataset:
    """Raises UnavailableError if the table was deleted since it was found: its bytes were not written again."""
    dataset = find_same_bytes(session, project_id, sha256)
    if dataset is None:
        raise UnavailableError("this dataset was being deleted; send it again")
    return dataset
