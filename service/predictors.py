"""Predictors of published weights, built once and kept while there is room."""

import threading

from cachetools import LRUCache, TTLCache

from worker.records.listing import get_job
from worker.records.sessions import Database
from worker.records.weights import newest_weights_id, read_weights
from worker.serving.predictor import Predictor

# a finished job's weights never change; a second bounds how long a deleted job still answers
FINISHED_SECONDS = 1.0


class Predictors:
    """A cache by weights id, which is safe since weights never change once published; evicted by size."""

    def __init__(self, database: Database, *, bytes_limit: int) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._built: LRUCache[str, Predictor] = LRUCache(
            bytes_limit, getsizeof=lambda predictor: predictor.nbytes + 4096
        )
        self._finished: TTLCache[tuple[str, str], str] = TTLCache(10_000, FINISHED_SECONDS)

    def of_job(self, project_id: str, job_id: str) -> Predictor:
        """The final weights' predictor, or while the job trains that of its newest snapshot.

        Raises NotFoundError, or StateError(not_ready).
        """
        with self._lock:
            weights_id = self._finished.get((project_id, job_id))
            if weights_id is not None and (known := self._built.get(weights_id)) is not None:
                return known
        with self._database.reading() as session:
            job = get_job(session, project_id, job_id)
            weights_id = newest_weights_id(session, job_id)
        if job.status == "succeeded":
            with self._lock:
                self._finished[project_id, job_id] = weights_id
        return self.of_weights(weights_id)

    def of_weights(self, weights_id: str) -> Predictor:
        with self._lock:
            known = self._built.get(weights_id)
        if known is not None:
            return known
        with self._database.reading() as session:
            row, arrays = read_weights(session, weights_id)
            predictor = Predictor(row.network, row.encoders, arrays)
        with self._lock:
            if predictor.nbytes <= self._built.maxsize:
                self._built[weights_id] = predictor
        return predictor
