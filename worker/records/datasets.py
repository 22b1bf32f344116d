"""Uploaded tables in the database. Their bytes are in the storage."""

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError, StateError
from worker.records.objects import abandon_objects, keep_object
from worker.records.paging import read_page
from worker.records.states import OPEN
from worker.records.tables import Dataset, JobDataset, Prediction

COLUMN_BYTES = 300
"About how long the profile of a column is, without its categories."


def find_same_bytes(session: Session, project_id: str, sha256: str) -> Dataset | None:
    """Return the table with these bytes, if it was uploaded before."""
    return session.scalar(select(Dataset).where(Dataset.project_id == project_id, Dataset.sha256 == sha256))


def add_dataset(
    session: Session,
    project_id: str,
    *,
    dataset_id: str,
    name: str,
    media_type: str,
    content_bytes: int,
    sha256: str,
    rows: int,
    profile: dict[str, Any],
    storage_key: str,
    pieces: bytes | None,
) -> Dataset:
    """Add a table, keep its object and return its row, or the row with the same bytes that another request added."""
    known = find_same_bytes(session, project_id, sha256)
    if known is not None:
        return known
    dataset = Dataset(
        id=dataset_id,
        project_id=project_id,
        name=name,
        media_type=media_type,
        bytes=content_bytes,
        sha256=sha256,
        rows=rows,
        profile=profile,
        storage_key=storage_key,
        pieces=pieces,
    )
    session.add(dataset)
    keep_object(session, storage_key)
    session.flush()
    session.refresh(dataset)
    return dataset


def newest_storage_keys(session: Session, *, limit: int) -> list[str]:
    """Return the storage keys of the newest uploads of all projects."""
    return list(session.scalars(select(Dataset.storage_key).order_by(Dataset.id.desc()).limit(limit)))


def get_dataset(session: Session, project_id: str, dataset_id: str) -> Dataset:
    """Return the table. Raises NotFoundError."""
    found = select(Dataset).where(Dataset.id == dataset_id, Dataset.project_id == project_id)
    dataset = session.scalar(found)
    if dataset is None:
        raise NotFoundError("there is no such dataset")
    return dataset


def get_pieces(session: Session, dataset_id: str) -> bytes | None:
    """Return where the table's rows are in its bytes; None if that is not known."""
    return session.scalar(select(Dataset.pieces).where(Dataset.id == dataset_id))


def list_datasets(
    session: Session, project_id: str, *, before: str | None = None, limit: int
) -> tuple[list[Dataset], bool]:
    """Return a page of datasets, newest first, and whether there are more. before: an id; older ones only."""
    found = select(Dataset).where(Dataset.project_id == project_id)
    return read_page(session, found, Dataset.id, before=before, limit=limit, size_of=_size_of)


def _size_of(dataset: Dataset) -> int:
    columns = dataset.profile["columns"]
    return COLUMN_BYTES * len(columns) + sum(len(known) for column in columns for known in column["categories"] or ())


def delete_dataset(session: Session, project_id: str, dataset_id: str) -> str:
    """Delete the row, abandon its object and return the storage key. The caller deletes the bytes after the commit.

    Raises NotFoundError, and StateError while a job or a prediction needs the table.
    """
    locked = select(Dataset).where(Dataset.id == dataset_id, Dataset.project_id == project_id).with_for_update()
    dataset = session.scalar(locked)
    if dataset is None:
        raise NotFoundError("there is no such dataset")
    users = select(JobDataset.job_id).where(JobDataset.dataset_id == dataset_id)
    if (job_id := session.scalar(users.limit(1))) is not None:
        raise StateError(f"job {job_id} was trained on this dataset; delete the job first")
    reading = select(Prediction.dataset).where(Prediction.project_id == project_id, Prediction.status.in_(OPEN))
    if any(dataset.get("id") == dataset_id for dataset in session.scalars(reading)):
        raise StateError("a prediction that has not ended needs this dataset; wait for it, or delete it")
    session.execute(delete(Dataset).where(Dataset.id == dataset_id))
    abandon_objects(session, [dataset.storage_key])
    return dataset.storage_key
