"""Each test has a database of its own in which every model of `MODELS` is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient


@pytest.fixture
def sqlite_url(trained_models: Path, tmp_path: Path) -> str:
    path = tmp_path / "gradmill.db"
    shutil.copy(trained_models, path)
    return f"sqlite:///{path}"


@pytest.fixture
def infer(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """Infer in JSON, and return the outputs' data by name."""

    def infer(name: str, *inputs: dict[str, Any], **members: Any) -> dict[str, Any]:
        answer = client.post(f"/v2/models/{name}/infer", json={"inputs": list(inputs)} | members)
        assert answer.status_code == 200, answer.get_data()
        return {output["name"]: output["data"] for output in answer.get_json()["outputs"]}

    return infer


def tensor(name: str, data: list[Any], datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    """Return an input as JSON; a column unless a shape is given."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}
