"""Runs the cases of the OpenAPI document against an app in this process, and counts the answers."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from tests.service.cases.allowed import reason_to_allow
from tests.service.cases.fitting import Fitting
from tests.service.cases.objects import Objects
from tests.service.conftest import KEY
from worker.data.npy import NPY
from worker.data.readers import ARROW

DOCUMENT = "/v1/openapi.json"
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
schemathesis.serializer.alias([NPY, ARROW], "application/octet-stream")
POSITIVE = ["2xx", "3xx", "404", "409", "429", "503"]


@dataclass
class Report:
    """What came of the cases.

    statuses: by operation. faults: with the request that shows each. allowed: refusals that no schema can express.
    """

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    faults: dict[str, str] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)
    allowed: Counter[str] = field(default_factory=Counter)

    @property
    def cases(self) -> int:
        return sum(counter.total() for counter in self.statuses.values())

    def reached(self, operation: str) -> int:
        """Return how many cases of the operation were answered with success."""
        return sum(count for status, count in self.statuses[operation].items() if status < 400)

    def __str__(self) -> str:
        lines = [
            f"{self.reached(name):6} of {counter.total():6} {name}  {dict(sorted(counter.items()))}"
            for name, counter in sorted(self.statuses.items())
        ]
        return "\n".join([f"{self.cases} cases {dict(self.phases)}", *lines, f"allowed: {dict(self.allowed)}"])


def run_cases(
    app: Flask, client: FlaskClient, objects: Objects, report: Report, *, seed: int, each: int, phases: tuple[str, ...]
) -> None:
    """Run cases, and add to the report. each: at most this many generated cases of each operation."""
    fitting = Fitting(client, objects)

    def before_call(_context: Any, case: schemathesis.Case, _kwargs: dict[str, Any]) -> None:
        fitting.fit(case)

    schemathesis.hooks.unregister_all()
    schemathesis.hook(before_call)
    try:
        schema = schemathesis.openapi.from_wsgi(
            DOCUMENT, app, config=_config(objects, seed, each, phases), headers=AUTHORIZATION
        )
        for event in from_schema(schema).execute():
            _record(event, report, fitting.fitted)
    finally:
        schemathesis.hooks.unregister_all()


def _config(objects: Objects, seed: int, each: int, phases: tuple[str, ...]) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            # without this, answers would be compressed, which the checks do not undo in process
            "headers": AUTHORIZATION | {"Accept-Encoding": "identity"},
            "continue-on-failure": True,
            # an event stream of a job that waits never ends
            "request-timeout": 0.3,
            "generation": {"max-examples": each, "database": "none", "with-security-parameters": False},
            "phases": {name: {"enabled": name in phases} for name in ("examples", "coverage", "fuzzing", "stateful")},
            "checks": {
                # 412: an ETag depends on the content
                "positive_data_acceptance": {"expected-statuses": [*POSITIVE, "412"]},
                # tests/service/test_access.py asks every route without a key; this check can't call an app in process
                "ignored_auth": {"enabled": False},
            },
            "dictionaries": {name: {"values": values} for name, values in _words(objects).items()},
            "parameters": {
                name: {"dictionary": name, "probability": 0.8 if name.startswith("path.") else 0.5}
                for name in _words(objects)
            },
        }
    )


def _words(objects: Objects) -> dict[str, list[Any]]:
    """Return real values of parameters and members, so that generated cases meet real objects."""
    ids = objects.ids
    return {f"path.{name}": values for name, values in ids.items()} | {
        "body.job_id": ids["job_id"],
        "body.start_from.job": ids["job_id"],
        "body.dataset.id": ids["dataset_id"],
        "body.target": ["label", "target"],
        "body.version": [1],
        "query.a": [1],
        "query.b": [1],
    }


def _record(event: events.EngineEvent, report: Report, fitted: set[str]) -> None:
    match event:
        case events.ScenarioFinished(recorder=recorder, phase=phase):
            report.phases[phase.value] += len(recorder.interactions)
            _count(recorder, report, fitted)
        case events.NonFatalError(label=label, value=error):
            report.faults[f"{label} {type(error).__name__}"] = str(error)
        case events.FatalError(exception=error):
            raise error


def _count(recorder: ScenarioRecorder, report: Report, fitted: set[str]) -> None:
    for case_id, interaction in recorder.interactions.items():
        case, response = recorder.cases[case_id].value, interaction.response
        assert response is not None
        if case.method.lower() == case.operation.method.lower():
            report.statuses[case.operation.label][response.status_code] += 1
        for check in recorder.checks.get(case_id, ()):
            failure = check.failure_info and check.failure_info.failure
            # the checks take the bytes of a body that fits for invalid text
            if failure is None or (isinstance(failure, AcceptedNegativeData) and case_id in fitted):
                continue
            if reason := reason_to_allow(failure, response):
                report.allowed[reason] += 1
            else:
                key = f"{case.operation.label} {type(failure).__name__} {response.status_code}"
                text = response.content[:500].decode(errors="replace")
                report.faults.setdefault(key, f"{failure.message}\n{case.as_curl_command()}\n{text}")
