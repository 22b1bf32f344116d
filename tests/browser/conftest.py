"""A Chromium, pages that report what went wrong in them, and jobs to look at."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import missing
from tests.products import Product

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""

OpenPage = Callable[..., Page]
StartJob = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("Chromium")
    # a loaded machine may take seconds between two epochs that are recorded
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, gradmill: Product) -> Iterator[OpenPage]:
    """A page of a fresh browser context, logged in by key unless asked not to be.

    Whatever the page then complains of, a violation of the content security policy among it, fails the test.
    """
    contexts, complaints = [], []

    def note(message: ConsoleMessage) -> None:
        # a status of 400 or more is what some tests ask for; they look at the page itself
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def open_page(
        path: str = "/ui/jobs", *, url: str = gradmill.url, key: str | None = gradmill.key, **context: Any
    ) -> Page:
        contexts.append(browser.new_context(base_url=url, **context))
        page = contexts[-1].new_page()
        if context.get("java_script_enabled", True):
            page.add_init_script(REPORT_VIOLATIONS)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        if key is not None:
            log_in(page, key)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def log_in(page: Page, key: str) -> None:
    page.goto("/ui/login")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def start_job(gradmill: Product) -> Iterator[StartJob]:
    """Submit a job and return it; it is cancelled at the end of the test if it still runs."""
    started = []

    def start(
        name: str = "moons",
        *,
        rows: int = 400,
        units: int = 16,
        dataset: dict[str, Any] | None = None,
        target: str | list[str] = "label",
        **training: Any,
    ) -> dict[str, Any]:
        answer = gradmill.post(
            "/v1/jobs",
            {
                "name": name,
                "dataset": dataset or {"source": "generator", "name": "moons", "rows": rows},
                "target": target,
                "network": {"layers": [{"type": "dense", "units": units, "activation": "tanh"}]},
                "training": {"epochs": 5} | training,
            },
        )
        job: dict[str, Any] = answer.raise_for_status().json()
        started.append(job["id"])
        return job

    yield start
    for job_id in started:
        gradmill.post(f"/v1/jobs/{job_id}/cancel")


@pytest.fixture
def long_job(gradmill: Product, start_job: StartJob) -> str:
    """The id of a job that has trained some epochs and goes on for minutes."""
    job_id: str = start_job(
        "long", rows=2000, units=64, epochs=100_000, optimizer={"type": "sgd", "learning_rate": 0.0001}
    )["id"]
    gradmill.wait(job_id, "running")
    while gradmill.get(f"/v1/jobs/{job_id}").json()["latest"] is None:
        time.sleep(0.02)
    return job_id


def login_path(product: Product) -> str:
    """The path of the link that `gradmill up` printed."""
    found = re.search(r"/ui/login\?token=\S+", product.login_link)
    assert found is not None
    return found[0]
