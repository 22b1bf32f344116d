"""What holds on every page: the content security policy, a phone's width, both themes, no other host."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, StartJob
from tests.products import Product

pytestmark = pytest.mark.slow


@pytest.fixture
def paths(gradmill: Product, start_job: StartJob, long_job: str) -> list[str]:
    ended = start_job("a-rather-long-name-without-any-space-in-it-" * 3, test={"fraction": 0.2})["id"]
    failed = start_job("fails", optimizer={"type": "sgd", "learning_rate": 1000}, epochs=50, l2=100)["id"]
    gradmill.wait(ended)
    gradmill.wait(failed)
    jobs = [f"/ui/jobs/{job_id}" for job_id in (long_job, ended, failed)]
    return ["/ui/jobs", "/ui/jobs?status=paused", *jobs, f"{jobs[0]}?log=1", "/ui/nothing", "/docs"]


def test_no_page_breaks_the_content_security_policy(open_page: OpenPage, paths: list[str]) -> None:
    """`open_page` fails for any violation; this test looks that every page has the policy."""
    page = open_page()
    for path in paths:
        answer = page.goto(path)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert ("unsafe-inline" in policy) == (path == "/docs")
        page.wait_for_timeout(500)


def test_the_reference_is_drawn_offline(open_page: OpenPage, gradmill: Product) -> None:
    """The API reference asks no host but this server."""
    page = open_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto("/docs")
    expect(page.get_by_text("Submit a job", exact=True)).to_be_visible()
    assert {host for host in hosts if host} == {urlsplit(gradmill.url).netloc}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, paths: list[str], scheme: str) -> None:
    """No page scrolls sideways at 390 pixels, in either theme."""
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    login = open_page("/ui/login", key=None, **phone)
    assert login.evaluate("document.documentElement.scrollWidth") <= 390
    page = open_page(**phone)
    for path in paths:
        page.goto(path)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_the_theme_is_remembered_and_the_charts_follow_it(open_page: OpenPage, long_job: str) -> None:
    """The lines' colours change at once, and the choice survives a reload."""
    page = open_page(f"/ui/jobs/{long_job}", color_scheme="light")
    colour = "getComputedStyle(document.querySelector('#loss .swatch')).color"
    expect(page.locator("#loss canvas")).to_be_visible()
    before = page.evaluate(colour)
    page.get_by_label("Theme").select_option("dark")
    assert page.evaluate(colour) != before
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 29)"


def test_static_files_may_be_kept_for_ever(open_page: OpenPage, gradmill: Product) -> None:
    """They may be at this version's address; at another version's they are asked for again."""
    page = open_page()
    address = page.locator('link[rel="stylesheet"]').first.get_attribute("href")
    assert address is not None
    assert gradmill.get(address).headers["cache-control"] == "public, max-age=31536000, immutable"
    other = address.replace(address.split("/")[3], "0" * 12)
    assert gradmill.get(other).headers["cache-control"] == "no-cache"
