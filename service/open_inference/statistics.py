"""How often and how long each model's tensors were served by this process since it started."""

import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from cachetools import LRUCache

KEPT = 10_000
PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class Key(NamedTuple):
    """encoded: asked for as NAME.encoded, which counts by itself."""

    project_id: str
    name: str
    version: int
    encoded: bool


class Figures:
    """last_ms: since 1970, of the last request, 0 before it; rows: of requests that succeeded. The rest is by phase."""

    def __init__(self) -> None:
        self.last_ms = self.rows = 0
        self.counts: Counter[str] = Counter()
        self.nanoseconds: Counter[str] = Counter()

    def add(self, **nanoseconds: int) -> None:
        self.last_ms = time.time_ns() // 1_000_000
        self.counts.update(nanoseconds.keys())
        self.nanoseconds.update(nanoseconds)


class Statistics:
    """Figures by model and version, in memory: each process of the API counts for itself. Safe in many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: LRUCache[Key, Figures] = LRUCache(KEPT)

    def succeeded(self, key: Key, rows: int, *, began: int, took: int, computed: int, told: int) -> None:
        """Times of time.perf_counter_ns: the request began, its inputs were taken, computed, and told."""
        with self._lock:
            figures = self._of(key)
            figures.rows += rows
            # nothing queues: a request is computed by the thread that read it
            figures.add(
                success=told - began,
                queue=0,
                compute_input=took - began,
                compute_infer=computed - took,
                compute_output=told - computed,
            )

    def failed(self, key: Key, nanoseconds: int) -> None:
        with self._lock:
            self._of(key).add(fail=nanoseconds)

    def _of(self, key: Key) -> Figures:
        figures = self._figures.get(key)
        if figures is None:
            figures = self._figures[key] = Figures()
        return figures

    def shown(self, key: Key, name: str) -> dict[str, Any]:
        """As the statistics extension tells them; zeros before the first request. name: as it was asked for."""
        with self._lock:
            figures = self._figures.get(key) or Figures()
            return {
                "name": name,
                "version": str(key.version),
                "last_inference": figures.last_ms,
                "inference_count": figures.rows,
                "execution_count": figures.counts["success"],
                "inference_stats": {
                    phase: {"count": figures.counts[phase], "ns": figures.nanoseconds[phase]} for phase in PHASES
                },
                "batch_stats": [],
            }
