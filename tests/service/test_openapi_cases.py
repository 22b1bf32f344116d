"""The OpenAPI document and the server agree: thousands of generated requests, valid and not, find no difference."""

import os
from pathlib import Path

import pytest

from service.app import all_operations
from tests.service.cases.objects import opened
from tests.service.cases.run import Report, run_cases

CASES = int(os.environ.get("GRADMILL_TEST_CASES", "1500"))
SEED = int(os.environ.get("GRADMILL_TEST_SEED", "1"))
"In CI the seed is fixed, so that a fault comes again. A long run takes others: `make fuzz`."
EACH = 30
"The cases of each operation in one pass; with the stateful ones they are about 2000."
QUICK, LONG = ("fuzzing", "stateful"), ("examples", "coverage", "fuzzing", "stateful")


@pytest.mark.timeout(0)
# of the generator: long bodies, and the files in which Werkzeug's client keeps large forms
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_generated_requests_are_answered_as_the_document_says(
    trained_models: Path, redis_url: str, tmp_path: Path
) -> None:
    """No 5xx, no undocumented answer, no valid request refused and no invalid one accepted. Each operation succeeds."""
    report, seed = Report(), SEED
    while report.cases < CASES:
        with opened(trained_models, redis_url, tmp_path / str(seed)) as (app, client, objects):
            left, phases = (1.0, QUICK) if CASES <= 5000 else (5.0, LONG)
            run_cases(app, client, objects, report, seed=seed, each=int(EACH * left), phases=phases)
        seed += 1
        print(f"{report.cases} cases, seeds {SEED} to {seed - 1}, {len(report.faults)} faults", flush=True)
    print(report)
    # the generator leaves out the document's own address
    assert len(report.statuses) == len(all_operations()) - 1
    assert [name for name in report.statuses if not report.reached(name)] == []
    assert not report.faults, "\n\n".join(f"{name}: {text}" for name, text in report.faults.items())
