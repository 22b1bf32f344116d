"""Loads, profiles and stores the tables that a specification can name: generated, inline or uploaded ones."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy.orm import Session

from worker.data.inline import inline_table, table_bytes
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import PARQUET, read_table
from worker.data.sources import make_table
from worker.data.storage import Storage
from worker.errors import NotFoundError, SpecError, UnavailableError
from worker.intake.objects import discard_object, sweep_objects, write_object
from worker.records.datasets import add_dataset, find_same_bytes, get_dataset
from worker.records.sessions import Database
from worker.records.tables import Dataset
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset, GeneratedDataset, InlineDataset, StoredDataset
from worker.specs.dataset import Dataset as DatasetSpec

AddDataset = Callable[[Session], tuple[Dataset, bool]]
"Adds the row of a table; returns it, or the row with the same bytes, and whether it is new."


class InlineRows(NamedTuple):
    """The rows of a request, parsed and profiled."""

    table: pa.Table
    profile: TableProfile


class Datasets:
    """Loads, profiles and stores the tables of jobs and of predictions."""

    def __init__(self, database: Database, storage: Storage, limits: Limits) -> None:
        self.database, self._storage, self._limits = database, storage, limits
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
        return InlineRows(table, profile_table(table, self._limits))

    def store(self, project_id: str, name: str, content: bytes, media_type: str) -> tuple[Dataset, bool]:
        """Store an upload. Return its row and whether it is new; the same bytes get the same row. Raises DataError."""
        with self.upload(project_id, name, content, media_type) as add:
            return self.database.write(add)

    def store_rows(self, project_id: str, name: str, rows: InlineRows) -> StoredDataset:
        """Store the rows of a request as a dataset; return the specification that names it."""
        with self.upload(project_id, name, table_bytes(rows.table), PARQUET, profile=rows.profile) as add:
            dataset, _ = self.database.write(add)
        return StoredDataset(source="stored", id=dataset.id)

    @contextmanager
    def upload(
        self, project_id: str, name: str, content: bytes, media_type: str, *, profile: TableProfile | None = None
    ) -> Iterator[AddDataset]:
        """Write the bytes of a table, and yield the function that adds its row within the caller's transaction.

        Bytes for which no row was added in the end are deleted. profile: of the table; None: it is read from the
        bytes. Raises DataError.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        with self.database.reading() as session:
            known = find_same_bytes(session, project_id, sha256)
        if known is not None:
            if not self._storage.has(known.storage_key):
                # the row outlived its object, which an upload of the same bytes brings back
                self._storage.write(known.storage_key, content)
            yield lambda session: (_find_again(session, project_id, sha256), False)
            return
        profile = profile or profile_table(read_table(content, media_type, self._limits), self._limits)
        key = write_object(self.database, self._storage, project_id, "dst", content, sha256=sha256)
        values: dict[str, Any] = {"content_bytes": len(content), "sha256": sha256, "rows": profile.rows}
        values |= {"name": name, "media_type": media_type, "profile": profile.model_dump(mode="json")}
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

    def sweep(self) -> int:
        """Delete the stored objects that were abandoned, and return how many."""
        return sweep_objects(self.database, self._storage)

    def read(self, dataset: Dataset, *, text: Collection[str] = ()) -> pa.Table:
        """Return an uploaded table, by its row."""
        return read_table(self._storage.read(dataset.storage_key), dataset.media_type, self._limits, text=text)

    def _stored(self, project_id: str, spec: StoredDataset) -> Dataset:
        try:
            with self.database.reading() as session:
                return get_dataset(session, project_id, spec.id)
        except NotFoundError as error:
            raise SpecError("/dataset/id", "there is no such dataset") from error


def _find_again(session: Session, project_id: str, sha256: str) -> Dataset:
    """Raises UnavailableError if the table was deleted since it was found: its bytes were not written again."""
    dataset = find_same_bytes(session, project_id, sha256)
    if dataset is None:
        raise UnavailableError("this dataset was being deleted; send it again")
    return dataset
