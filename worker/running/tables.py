"""The table that a specification names, and its profile."""

from functools import lru_cache

import pyarrow as pa

from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import read_table
from worker.data.sources import make_table
from worker.data.storage import Storage
from worker.errors import NotFoundError, SpecError
from worker.records.datasets import get_dataset
from worker.records.sessions import Database, Session
from worker.records.tables import Dataset
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset, GeneratedDataset, InlineDataset, StoredDataset


class Tables:
    """Where tables come from: made here, or uploaded before."""

    def __init__(self, database: Database, storage: Storage, limits: Limits) -> None:
        self._database, self._storage, self._limits = database, storage, limits
        # by its specification; a made table is the same each time
        self._profile_made = lru_cache(maxsize=64)(lambda spec: profile_table(make_table(spec), limits))

    def load(
        self, project_id: str, spec: BuiltinDataset | GeneratedDataset | InlineDataset | StoredDataset
    ) -> pa.Table:
        """Raises SpecError if there is no such upload, DataError if its bytes can't be read."""
        if isinstance(spec, BuiltinDataset | GeneratedDataset):
            return make_table(spec)
        with self._database.reading() as session:
            row = _stored(session, project_id, spec)
            key, media_type = row.storage_key, row.media_type
        return read_table(self._storage.read(key), media_type, self._limits)

    def profile(self, project_id: str, spec: BuiltinDataset | GeneratedDataset | StoredDataset) -> TableProfile:
        """Without opening an uploaded table. Raises SpecError if there is no such upload."""
        if isinstance(spec, BuiltinDataset | GeneratedDataset):
            return self._profile_made(spec)
        with self._database.reading() as session:
            return TableProfile.model_validate(_stored(session, project_id, spec).profile)


def _stored(session: Session, project_id: str, spec: StoredDataset | InlineDataset) -> Dataset:
    if isinstance(spec, InlineDataset):
        raise SpecError("/dataset", "inline rows must be stored first")
    try:
        return get_dataset(session, project_id, spec.id)
    except NotFoundError as error:
        raise SpecError("/dataset/id", "there is no such dataset") from error
