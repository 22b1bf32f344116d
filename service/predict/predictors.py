"""The cache of predictors: each is built once from published weights, and kept while there is room."""

import threading
from typing import NamedTuple

from cachetools import LRUCache, TTLCache

from worker.data.encoders import CategoricalCode
from worker.networks.predictor import Predictor
from worker.networks.trained import read_trained
from worker.records.jobs import get_job
from worker.records.sessions import Database
from worker.records.versions import Version, find_version
from worker.records.weights import find_weights_id

FINISHED_SECONDS = 1.0
"""How long a lookup of a name may be remembered.

The weights of a finished job and of a version never change. This limits how long deleted weights still predict, and how
long this process uses the old version after another process has moved an alias.
"""


class ModelName(NamedTuple):
    """The name of a model's version. version, alias: at most one of them; without either, it is the newest version."""

    project_id: str
    name: str
    version: int | None
    alias: str | None


class NamedPredictor(NamedTuple):
    """A predictor and its origin.

    name, version: those of the model; None if the client named a job.
    job_id: the job that made the weights; None if they were imported.
    """

    predictor: Predictor
    name: str | None
    version: int | None
    job_id: str | None
    weights_id: str


class Predictors:
    """A cache of predictors by weights id, limited by size. It is never stale, since published weights never change."""

    def __init__(self, database: Database, *, bytes_limit: int) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._built: LRUCache[str, Predictor] = LRUCache(bytes_limit, getsizeof=size_of)
        self._finished: TTLCache[tuple[str, str], str] = TTLCache(10_000, FINISHED_SECONDS)
        self._named: TTLCache[ModelName, Version] = TTLCache(10_000, FINISHED_SECONDS)
        self._moves = 0

    def of_job(self, project_id: str, job_id: str) -> NamedPredictor:
        """Return the predictor of the job's final weights or, if it has none, of its newest snapshot.

        Raises NotFoundError, or StateError(not_ready) if the job has no weights yet.
        """
        with self._lock:
            weights_id = self._finished.get((project_id, job_id))
        if weights_id is None:
            with self._database.reading() as session:
                job = get_job(session, project_id, job_id)
                weights_id = find_weights_id(session, job_id)
            if job.status == "succeeded":
                with self._lock:
                    self._finished[project_id, job_id] = weights_id
        return NamedPredictor(self.of_weights(weights_id), None, None, job_id, weights_id)

    def of_model(
        self, project_id: str, name: str, *, version: int | None = None, alias: str | None = None
    ) -> NamedPredictor:
        """Return the predictor of a model's newest version, or of the one with this number or alias.

        A name in use is looked up in the database once in FINISHED_SECONDS, so a change by another process is seen
        after at most that time. A change by this process is seen at once. Raises NotFoundError.
        """
        wanted = ModelName(project_id, name, version, alias)
        with self._lock:
            found, moves = self._named.get(wanted), self._moves
        if found is None:
            with self._database.reading() as session:
                found = find_version(session, project_id, name, version=version, alias=alias)
            with self._lock:
                # if a name moved since the lookup, its result may be out of date
                if moves == self._moves:
                    self._named[wanted] = found
        return NamedPredictor(self.of_weights(found.weights_id), *found[:2], found.job_id, found.weights_id)

    def names_moved(self) -> None:
        """Forget all lookups of names. Call this when this process has changed or deleted a version, alias or job."""
        with self._lock:
            self._moves += 1
            self._named.clear()
            self._finished.clear()

    def of_weights(self, weights_id: str) -> Predictor:
        """Return the predictor of these weights, which must exist."""
        with self._lock:
            known = self._built.get(weights_id)
        if known is not None:
            return known
        with self._database.reading() as session:
            predictor = Predictor(read_trained(session, weights_id))
        with self._lock:
            if size_of(predictor) <= self._built.maxsize:
                self._built[weights_id] = predictor
        return predictor


def size_of(predictor: Predictor) -> int:
    """Return roughly how many bytes a predictor's arrays and the Python objects of its encoders take."""
    features = predictor.encoders.features
    categories = sum(len(code.categories) for code in features if isinstance(code, CategoricalCode))
    return predictor.nbytes + 4096 + 2048 * len(features) + 100 * categories
