"""Statistics of the Open Inference Protocol: how often and how long this process has served each model."""

import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from cachetools import LRUCache

MODELS_LIMIT = 10_000
PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class CountedModel(NamedTuple):
    """A version whose requests are counted. encoded: requests to NAME.encoded are counted separately."""

    project_id: str
    name: str
    version: int
    encoded: bool


class Figures:
    """Counts and times of one model.

    last_ms: the time of the last request in milliseconds since 1970, 0 before the first.
    rows: the rows of requests that succeeded.
    counts, nanoseconds: by phase.
    """

    def __init__(self) -> None:
        self.last_ms = self.rows = 0
        self.counts: Counter[str] = Counter()
        self.nanoseconds: Counter[str] = Counter()

    def add(self, **nanoseconds: int) -> None:
        """Count one request. nanoseconds: by phase."""
        self.last_ms = time.time_ns() // 1_000_000
        self.counts.update(nanoseconds.keys())
        self.nanoseconds.update(nanoseconds)


class Statistics:
    """Figures by model and version, in memory: each API process counts separately. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: LRUCache[CountedModel, Figures] = LRUCache(MODELS_LIMIT)

    def succeeded(self, model: CountedModel, rows: int, *, began: int, read: int, computed: int, written: int) -> None:
        """Count a request that succeeded.

        began, read, computed, written: when the request began, its inputs were read, its outputs were computed, and
        its answer was written, by time.perf_counter_ns.
        """
        with self._lock:
            figures = self._of(model)
            figures.rows += rows
            # nothing queues: the thread that reads a request also computes it
            figures.add(
                success=written - began,
                queue=0,
                compute_input=read - began,
                compute_infer=computed - read,
                compute_output=written - computed,
            )

    def failed(self, model: CountedModel, nanoseconds: int) -> None:
        """Count a request that failed after this time."""
        with self._lock:
            self._of(model).add(fail=nanoseconds)

    def _of(self, model: CountedModel) -> Figures:
        figures = self._figures.get(model)
        if figures is None:
            figures = self._figures[model] = Figures()
        return figures

    def document(self, model: CountedModel, name: str) -> dict[str, Any]:
        """Return the figures as the statistics extension writes them; zeros before the first request.

        name: the model's name as the client wrote it.
        """
        with self._lock:
            figures = self._figures.get(model) or Figures()
            return {
                "name": name,
                "version": str(model.version),
                "last_inference": figures.last_ms,
                "inference_count": figures.rows,
                "execution_count": figures.counts["success"],
                "inference_stats": {
                    phase: {"count": figures.counts[phase], "ns": figures.nanoseconds[phase]} for phase in PHASES
                },
                "batch_stats": [],
            }
