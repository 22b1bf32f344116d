"""Which predictor a name and a version in an address mean, and whether its inputs come encoded."""

import re
import threading
from typing import Any, NamedTuple

from cachetools import TTLCache

from service.predict.predictors import FINISHED_SECONDS, Predictors, Served
from worker.errors import NotFoundError

ENCODED = ".encoded"
NUMBER = re.compile(r"^[1-9][0-9]{0,9}$")


class Addressed(NamedTuple):
    """name: as it was asked for, which the answer repeats."""

    name: str
    served: Served
    encoded: bool


class Addresses:
    """NAME is a model, NAME.encoded the same without its encoders, unless a model has that very name."""

    def __init__(self, predictors: Predictors) -> None:
        self._predictors = predictors
        self._lock = threading.Lock()
        # asked at every request of an encoded model: is there a model of this name?
        self._no_models: TTLCache[tuple[str, str], bool] = TTLCache(10_000, FINISHED_SECONDS)

    def find(self, project_id: str, name: str, version: str | None) -> Addressed:
        """version: a number or an alias; None: the newest. Raises NotFoundError."""
        base = self.base(project_id, name)
        served = self._predictors.of_model(project_id, base, **_which(version))
        return Addressed(name, served, base != name)

    def base(self, project_id: str, name: str) -> str:
        """The model's own name."""
        if not name.endswith(ENCODED) or self._is_model(project_id, name):
            return name
        return name.removesuffix(ENCODED)

    def _is_model(self, project_id: str, name: str) -> bool:
        with self._lock:
            if (project_id, name) in self._no_models:
                return False
        try:
            self._predictors.of_model(project_id, name)
        except NotFoundError:
            with self._lock:
                self._no_models[project_id, name] = True
            return False
        return True


def _which(version: str | None) -> dict[str, Any]:
    if version is None:
        return {}
    return {"version": int(version)} if NUMBER.fullmatch(version) else {"alias": version}
