"""Predictors of published weights, built once and kept while there is room."""

import threading
from typing import NamedTuple

from cachetools import LRUCache, TTLCache

from worker.data.encoders import CategoricalCode
from worker.networks.predictor import Predictor
from worker.records.listing import get_job
from worker.records.models import Version, find_version
from worker.records.sessions import Database
from worker.records.weights import newest_weights_id, read_weights

# a finished job's weights never change, nor those of a version; a second bounds how long a deleted one still answers,
# and how long a process that did not move an alias itself still answers with the version before
FINISHED_SECONDS = 1.0
Asked = tuple[str, str, int | None, str | None]
"project, name, version, alias"


class Served(NamedTuple):
    """A predictor and what it is called. name, version: None where a job was asked for; job_id: None if imported."""

    predictor: Predictor
    name: str | None
    version: int | None
    job_id: str | None
    weights_id: str


class Predictors:
    """A cache by weights id, which is safe since weights never change once published; evicted by size."""

    def __init__(self, database: Database, *, bytes_limit: int) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._built: LRUCache[str, Predictor] = LRUCache(bytes_limit, getsizeof=size_of)
        self._finished: TTLCache[tuple[str, str], str] = TTLCache(10_000, FINISHED_SECONDS)
        self._named: TTLCache[Asked, Version] = TTLCache(10_000, FINISHED_SECONDS)
        self._moves = 0

    def of_job(self, project_id: str, job_id: str) -> Predictor:
        """The final weights' predictor, or while the job trains that of its newest snapshot.

        Raises NotFoundError, or StateError(not_ready).
        """
        return self.served_job(project_id, job_id).predictor

    def served_job(self, project_id: str, job_id: str) -> Served:
        """As `of_job`, and by which weights."""
        with self._lock:
            weights_id = self._finished.get((project_id, job_id))
        if weights_id is None:
            with self._database.reading() as session:
                job = get_job(session, project_id, job_id)
                weights_id = newest_weights_id(session, job_id)
            if job.status == "succeeded":
                with self._lock:
                    self._finished[project_id, job_id] = weights_id
        return Served(self.of_weights(weights_id), None, None, job_id, weights_id)

    def of_model(self, project_id: str, name: str, *, version: int | None = None, alias: str | None = None) -> Served:
        """The predictor of a model's newest version, or of the one with this number or alias.

        Hot, it asks the database once in FINISHED_SECONDS: so long another process's move of an alias, or another
        process's new version, may go unseen here. This process's own is seen at once. Raises NotFoundError.
        """
        asked = (project_id, name, version, alias)
        with self._lock:
            found, moves = self._named.get(asked), self._moves
        if found is None:
            with self._database.reading() as session:
                found = find_version(session, project_id, name, version=version, alias=alias)
            with self._lock:
                # a move since the look: what was found may be from before it
                if moves == self._moves:
                    self._named[asked] = found
        return Served(self.of_weights(found.weights_id), *found[:2], found.job_id, found.weights_id)

    def names_moved(self) -> None:
        """A version, an alias or a job was changed or deleted by this process: look again at once."""
        with self._lock:
            self._moves += 1
            self._named.clear()
            self._finished.clear()

    def of_weights(self, weights_id: str) -> Predictor:
        with self._lock:
            known = self._built.get(weights_id)
        if known is not None:
            return known
        with self._database.reading() as session:
            row, arrays = read_weights(session, weights_id)
            predictor = Predictor(row.network, row.encoders, arrays)
        with self._lock:
            if size_of(predictor) <= self._built.maxsize:
                self._built[weights_id] = predictor
        return predictor


def size_of(predictor: Predictor) -> int:
    """Bytes, roughly: of its arrays, and of the Python objects that encode its columns."""
    features = predictor.encoders.features
    categories = sum(len(code.categories) for code in features if isinstance(code, CategoricalCode))
    return predictor.nbytes + 4096 + 2048 * len(features) + 100 * categories
