"""Kept training steps over HTTP."""

from collections.abc import Callable

import numpy as np
import pytest
from flask.testing import FlaskClient
from safetensors import numpy as safetensors


def test_a_kept_step_is_listed_and_fetched(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """Its numbers follow from one another: z = x w + b, dL/dw = x^T dL/dz, w after = w before + update."""
    job = client.get(f"/v1/jobs/{succeeded(training={'replay_steps': [3]})}").get_json()
    (listed,) = client.get(job["links"]["steps"]).get_json()["data"]
    assert (listed["step"], listed["epoch"], len(listed["weights_sha256"])) == (3, 1, 64)
    answer = client.get(listed["link"])
    assert len(answer.data) == listed["bytes"]
    arrays = safetensors.load(answer.data)
    z = arrays["x"] @ arrays["before.layers.0.w"] + arrays["before.layers.0.b"]
    np.testing.assert_allclose(arrays["z.layers.0"], z, rtol=1e-4, atol=1e-6)
    gradient = arrays["x"].T @ arrays["grad_z.layers.0"]
    np.testing.assert_allclose(arrays["gradient.layers.0.w"], gradient, rtol=1e-4, atol=1e-6)
    moved = arrays["before.layers.0.w"] + arrays["update.layers.0.w"]
    np.testing.assert_allclose(arrays["after.layers.0.w"], moved, rtol=1e-6, atol=1e-7)
    unchanged = client.get(listed["link"], headers={"If-None-Match": answer.headers["ETag"]})
    assert unchanged.status_code == 304


@pytest.mark.parametrize("step", ["2", "0", "-1", "x", "9" * 30, "%C2%B2"])
def test_a_step_that_is_not_kept_is_a_404(client: FlaskClient, succeeded: Callable[..., str], step: str) -> None:
    """A step that was not kept, or is not a number, is a 404."""
    job_id = succeeded(training={"epochs": 1, "replay_steps": [1]})
    assert client.get(f"/v1/jobs/{job_id}/steps/{step}").status_code == 404
    assert client.get("/v1/jobs/job_none/steps").status_code == 404


def test_a_job_that_did_not_ask_keeps_none(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """Without replay_steps the list of steps is empty."""
    assert client.get(f"/v1/jobs/{succeeded()}/steps").get_json() == {"data": []}
