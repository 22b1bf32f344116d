"""Each test has a database of its own in which every model of `MODELS` is trained."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def sqlite_url(trained_models: Path, tmp_path: Path) -> str:
    path = tmp_path / "gradmill.db"
    shutil.copy(trained_models, path)
    return f"sqlite:///{path}"
