"""The list of jobs."""

import gzip
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, StartJob
from tests.products import Product, free_port, start_product

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product without a job."""
    with start_product(tmp_path_factory.mktemp("fresh"), port=free_port()) as product:
        yield product


def test_an_empty_list_teaches_and_trains_xor(open_page: OpenPage, fresh: Product) -> None:
    """It shows the request as a command, and its button trains the example."""
    page = open_page(url=fresh.url, key=fresh.key)
    expect(page.get_by_text("No job yet")).to_be_visible()
    expect(page.get_by_text(f"curl {fresh.url}/v1/jobs")).to_be_visible()
    page.get_by_role("button", name="Train XOR (2 s)").click()
    expect(page.get_by_role("heading", name="xor")).to_be_visible()
    expect(page.locator(".status-succeeded")).to_be_visible(timeout=30_000)


def test_a_new_job_waits_behind_a_button_and_its_row_then_follows_it(open_page: OpenPage, start_job: StartJob) -> None:
    """No row moves until the button is pressed; then the row follows the job to its end."""
    start_job("before")
    page = open_page()
    page.evaluate("window.sameDocument = true")
    top = page.locator("tr[data-id]").first.get_attribute("data-id")
    job = start_job("newcomer", epochs=3000)
    pill = page.get_by_role("button", name="1 new job")
    expect(pill).to_be_visible()
    assert page.locator("tr[data-id]").first.get_attribute("data-id") == top
    pill.click()
    row = page.locator(f'tr[data-id="{job["id"]}"]')
    expect(row).to_contain_text("newcomer")
    expect(row).to_contain_text("succeeded", timeout=30_000)
    expect(row).to_contain_text("3,000 / 3,000")
    assert page.evaluate("window.sameDocument")


def test_rows_stay_true_however_many_jobs_are_newer(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """A page of newer jobs pushes none of those that are shown out of sight of the server."""
    job = start_job("slow", epochs=100_000)
    page = open_page()
    row = page.locator(f'tr[data-id="{job["id"]}"]')
    expect(row).to_contain_text("running")
    newer = [start_job("newer", epochs=1)["id"] for _ in range(51)]
    expect(page.get_by_role("button", name="51 new jobs")).to_be_visible()
    gradmill.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    expect(row).to_contain_text("cancelled")
    page.get_by_role("button", name="51 new jobs").click()
    expect(page.locator("tr[data-id]").first).to_have_attribute("data-id", newer[-1])
    for other in newer:
        gradmill.wait(other)


def test_an_older_job_that_gets_the_status_of_the_filter_is_offered(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """It is no newer than the rows that are shown, so no place at their top would have it."""
    ids = [start_job(name, epochs=100_000)["id"] for name in ("first", "second", "third")]

    def cancel(job_id: str) -> None:
        gradmill.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        gradmill.wait(job_id, "cancelled")

    cancel(ids[0])
    cancel(ids[2])
    page = open_page("/ui/jobs?status=cancelled")
    expect(page.locator("tr[data-id]").first).to_have_attribute("data-id", ids[2])
    cancel(ids[1])
    page.get_by_role("button", name="1 new job").click()
    expect(page.locator(f'tr[data-id="{ids[1]}"]')).to_be_visible()


def test_a_status_filters_the_list(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The link shows only jobs with that status."""
    gradmill.wait(start_job("filtered")["id"])
    # a job that is not to be seen
    gradmill.wait(
        start_job("fails", optimizer={"type": "sgd", "learning_rate": 1000}, epochs=50, l2=100)["id"], "failed"
    )
    page = open_page()
    page.get_by_role("link", name="Succeeded").click()
    expect(page).to_have_url("/ui/jobs?status=succeeded")
    expect(page.locator(".status-succeeded").first).to_be_visible()
    assert page.locator("tbody .status:not(.status-succeeded)").count() == 0


def test_a_hostile_name_is_text(open_page: OpenPage, start_job: StartJob) -> None:
    """Markup in a name is shown, not run."""
    name = "<img src=x onerror=alert(1)>"
    job = start_job(name)
    page = open_page()
    expect(page.locator(f'tr[data-id="{job["id"]}"] a')).to_have_text(name)
    page.goto(f"/ui/jobs/{job['id']}")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert page.locator("main img").count() == 0


def test_fifty_jobs_are_a_page_of_60_kilobytes_and_older_ones_follow(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """The rest is on the next page, and a link leads back."""
    ids = [start_job(f"one of many {n}", epochs=1)["id"] for n in range(51)]
    gradmill.wait(ids[-1])
    page = open_page(java_script_enabled=False)
    assert page.locator("tr[data-id]").count() == 50
    assert len(gzip.compress(page.content().encode())) <= 60_000
    page.get_by_role("link", name="older").click()
    assert page.locator("tr[data-id]").first.get_attribute("data-id") == ids[0]
    page.get_by_role("link", name="newest").click()
    assert page.locator("tr[data-id]").first.get_attribute("data-id") == ids[-1]


def test_a_plain_form_trains_xor_without_scripts(open_page: OpenPage) -> None:
    """The form leads to the new job's page."""
    page = open_page(java_script_enabled=False)
    page.get_by_role("button", name="Train XOR").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("xor")
