"""Finds the predictor that an address of another protocol names, and whether it takes encoded rows."""

import re
import threading
from typing import Any, NamedTuple

from cachetools import TTLCache

from service.predict.predictors import FINISHED_SECONDS, NamedPredictor, Predictors
from worker.errors import NotFoundError

ENCODED = ".encoded"
NUMBER = re.compile(r"^[1-9][0-9]{0,9}$")


class AddressedModel(NamedTuple):
    """The model that an address names.

    name: the name as the client wrote it, which the answer repeats.
    found: the model's predictor.
    encoded: whether the client sends encoded rows, because the name ends in .encoded.
    """

    name: str
    found: NamedPredictor
    encoded: bool


class Addresses:
    """Finds models by name. NAME.encoded is the model NAME without its encoders, unless a model has that very name."""

    def __init__(self, predictors: Predictors) -> None:
        self._predictors = predictors
        self._lock = threading.Lock()
        # every request to NAME.encoded checks first whether a model has that name; this remembers that none has
        self._no_models: TTLCache[tuple[str, str], bool] = TTLCache(10_000, FINISHED_SECONDS)

    def find(self, project_id: str, name: str, version: str | None) -> AddressedModel:
        """Return the model. version: a number or an alias; None: the newest. Raises NotFoundError."""
        base = self.base(project_id, name)
        found = self._predictors.of_model(project_id, base, **_number_or_alias(version))
        return AddressedModel(name, found, base != name)

    def base(self, project_id: str, name: str) -> str:
        """Return the model's own name, without .encoded."""
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


def _number_or_alias(version: str | None) -> dict[str, Any]:
    if version is None:
        return {}
    return {"version": int(version)} if NUMBER.fullmatch(version) else {"alias": version}
