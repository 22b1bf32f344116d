"""Imported weights: they are published with a version, and deleted with the last version that serves them."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from worker.errors import StateError
from worker.records.blobs import delete_blobs, publish_blob
from worker.records.identifiers import new_id
from worker.records.jobs import are_needed
from worker.records.predictions import check_unused
from worker.records.tables import ModelVersion, StoredNetwork, Weights
from worker.records.weights import NetworkColumns, add_network


def publish_import(session: Session, project_id: str, columns: NetworkColumns, blob_id: str) -> str:
    """Publish weights and return their id. Call it in the transaction that registers their version."""
    weights_id = new_id("wts")
    session.execute(
        insert(Weights).values(
            id=weights_id,
            project_id=project_id,
            job_id=None,
            epoch=0,
            kind="imported",
            blob_id=blob_id,
            network_id=add_network(session, project_id, columns),
        )
    )
    publish_blob(session, blob_id)
    return weights_id


def delete_unserved_imports(session: Session, weights_ids: Sequence[str]) -> None:
    """Delete those of these weights that were imported and are no longer served by any version.

    Raises StateError while an unfinished job or prediction needs them.
    """
    served = select(ModelVersion.version).where(ModelVersion.weights_id == Weights.id).exists()
    found = select(Weights.id, Weights.blob_id, Weights.network_id)
    found = found.where(Weights.id.in_(weights_ids), Weights.kind == "imported", ~served)
    # locked, so that no job that starts from them can be submitted before the commit
    rows = session.execute(found.with_for_update(of=Weights)).all()
    unserved = [row.id for row in rows]
    if are_needed(session, unserved):
        raise StateError("a job that has not ended starts from these weights")
    check_unused(session, unserved)
    session.execute(delete(Weights).where(Weights.id.in_(unserved)))
    session.execute(delete(StoredNetwork).where(StoredNetwork.id.in_([row.network_id for row in rows])))
    delete_blobs(session, [row.blob_id for row in rows])
