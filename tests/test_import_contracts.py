"""The laws of the house hold, and each is seen to fail on a planted bad import."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PLANTED = [
    ("worker/specs/base.py", "import service.settings", "The worker knows nothing of the service"),
    ("worker/running/run.py", "import flask", "The worker knows nothing of the service"),
    ("worker/backprop/fit.py", "import worker.records.tables", "Imports run downhill"),
    ("worker/records/lease.py", "import worker.running.run", "Imports run downhill"),
    ("worker/data/splits.py", "import worker.records.tables", "Imports run downhill"),
    ("worker/broker/doorbell.py", "import worker.running.run", "Imports run downhill"),
    ("worker/networks/trained.py", "import worker.intake.cost", "Imports run downhill"),
    ("worker/running/run.py", "import worker.backup.check", "Imports run downhill"),
    ("worker/errors.py", "import worker.settings", "Imports run downhill"),
    ("worker/backprop/losses/numbers.py", "import sqlalchemy", "Back-propagation is NumPy only"),
    ("worker/backprop/losses/numbers.py", "import worker.specs.job", "Back-propagation is NumPy only"),
    ("worker/running/recorder.py", "import celery", "Running a job knows no Celery"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, to plant in."""
    copy = tmp_path_factory.mktemp("house")
    for folder in ("service", "worker", "migrations"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("vendor", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def broken_contracts(house: Path) -> set[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    finished = subprocess.run(
        command, cwd=house, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(house)}
    )
    broken = {line.removesuffix(" BROKEN") for line in finished.stdout.splitlines() if line.endswith(" BROKEN")}
    assert bool(broken) == bool(finished.returncode), finished.stdout + finished.stderr
    return broken


def test_the_house_keeps_its_laws(house: Path) -> None:
    """The code breaks none of its import contracts."""
    assert broken_contracts(house) == set()


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED)
def test_a_planted_import_breaks_its_law(house: Path, file: str, line: str, contract: str) -> None:
    """An import that a contract forbids is found by that contract."""
    path = house / file
    text = path.read_text()
    path.write_text(f"{text}\n\n{line}\n")
    try:
        assert contract in broken_contracts(house)
    finally:
        path.write_text(text)
