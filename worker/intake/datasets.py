"""Loads, profiles and stores the tables that a specification can name: generated, inline or uploaded ones."""

import hashlib
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from worker.data.inline import inline_table, table_bytes
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import PARQUET, read_table
from worker.data.sources import make_table
from worker.data.storage import Storage
from worker.errors import NotFoundError, SpecError
from worker.records.datasets import add_dataset, find_same_bytes, get_dataset, stored_keys
from worker.records.identifiers import age_seconds, new_id
from worker.records.sessions import Database
from worker.records.tables import Dataset
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset, GeneratedDataset, InlineDataset, StoredDataset
from worker.specs.dataset import Dataset as DatasetSpec

ORPHAN_SECONDS = 3600
KEYS = ("dst_", "prd_")
"How the storage keys of uploads and of prediction results begin. Both are ids, which contain the time of writing."
ASKED_AT_ONCE = 500


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
        return self._store(
            project_id,
            name,
            content,
            media_type,
            lambda: profile_table(read_table(content, media_type, self._limits), self._limits),
        )

    def store_rows(self, project_id: str, name: str, rows: InlineRows) -> StoredDataset:
        """Store the rows of a request as a dataset; return the specification that names it."""
        dataset, _ = self._store(project_id, name, table_bytes(rows.table), PARQUET, lambda: rows.profile)
        return StoredDataset(source="stored", id=dataset.id)

    def _store(
        self, project_id: str, name: str, content: bytes, media_type: str, profile_of: Callable[[], TableProfile]
    ) -> tuple[Dataset, bool]:
        sha256 = hashlib.sha256(content).hexdigest()
        with self.database.reading() as session:
            known = find_same_bytes(session, project_id, sha256)
        if known is not None:
            if not self._storage.has(known.storage_key):
                # the row outlived its object, which an upload of the same bytes brings back
                self._storage.write(known.storage_key, content)
            return known, False
        profile = profile_of()
        dataset_id = new_id("dst")
        self._storage.write(dataset_id, content)
        dataset = self.database.write(
            lambda session: add_dataset(
                session,
                project_id,
                dataset_id=dataset_id,
                name=name,
                media_type=media_type,
                content_bytes=len(content),
                sha256=sha256,
                rows=profile.rows,
                profile=profile.model_dump(mode="json"),
                storage_key=dataset_id,
            )
        )
        if dataset.id != dataset_id:
            # another request with the same bytes was first
            self._storage.delete(dataset_id)
        return dataset, dataset.id == dataset_id

    def sweep(self) -> int:
        """Delete stored objects that no row names and that are older than an hour. Return how many."""
        old = [key for key in self._storage.list_keys() if key.startswith(KEYS) and age_seconds(key) > ORPHAN_SECONDS]
        orphans = []
        for start in range(0, len(old), ASKED_AT_ONCE):
            batch = old[start : start + ASKED_AT_ONCE]
            with self.database.reading() as session:
                orphans += sorted(set(batch) - stored_keys(session, batch))
        for key in orphans:
            self._storage.delete(key)
        return len(orphans)

    def read(self, dataset: Dataset, *, text: Collection[str] = ()) -> pa.Table:
        """Return an uploaded table, by its row."""
        return read_table(self._storage.read(dataset.storage_key), dataset.media_type, self._limits, text=text)

    def _stored(self, project_id: str, spec: StoredDataset) -> Dataset:
        try:
            with self.database.reading() as session:
                return get_dataset(session, project_id, spec.id)
        except NotFoundError as error:
            raise SpecError("/dataset/id", "there is no such dataset") from error
