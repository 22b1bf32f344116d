"""Pages that ask the server again and again: at most one request at a time, however slow its answer is."""

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, StartJob
from tests.browser.test_job import HIDE
from tests.products import Product

pytestmark = pytest.mark.slow

POLL_SECONDS = 2.0


def hold(page: Page, url: str | Callable[[str], bool]) -> list[Route]:
    """Hold the page's requests to this address from now on: they are open, and get no answer before `continue_`."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(url, keep)
    return held


def wait_for(page: Page, held: list[Route], count: int, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while len(held) < count:
        assert time.monotonic() < until, f"{len(held)} of {count} requests"
        page.wait_for_timeout(50)


def test_a_slow_list_has_one_request_in_flight(open_page: OpenPage, start_job: StartJob) -> None:
    """An answer that takes three intervals leads to no second request, and the next comes later than usual."""
    start_job("slow list")
    page = open_page()
    held = hold(page, "**/ui/jobs/rows*")
    wait_for(page, held, 1)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(3 * POLL_SECONDS * 1000)
    assert len(held) == 1
    held[0].continue_()
    answered = time.monotonic()
    wait_for(page, held, 2)
    assert time.monotonic() - answered > 2 * POLL_SECONDS
    held[1].continue_()
    expect(page.locator("#live")).to_have_text("live")


def test_a_list_asks_less_often_after_errors(open_page: OpenPage, start_job: StartJob) -> None:
    """After each error the page waits longer than after the one before; an answer brings the usual pace back."""
    start_job("failing list")
    page = open_page()
    held = hold(page, "**/ui/jobs/rows*")
    moments = []
    for count in (1, 2, 3):
        wait_for(page, held, count)
        moments.append(time.monotonic())
        held[-1].fulfill(status=503, headers={"Retry-After": "5"}, body="busy")
        expect(page.locator("#live")).to_have_text("reconnecting")
    first, second = moments[1] - moments[0], moments[2] - moments[1]
    assert first > 1.5 * POLL_SECONDS
    assert second > 1.5 * first
    wait_for(page, held, 4)
    held[-1].continue_()
    expect(page.locator("#live")).to_have_text("live")


def test_a_hidden_list_asks_nothing(open_page: OpenPage, start_job: StartJob) -> None:
    """While the tab is hidden no request is made; when it is shown again, one is made at once."""
    start_job("hidden list")
    page = open_page()
    page.evaluate(HIDE, True)
    page.wait_for_timeout(300)
    held = hold(page, "**/ui/jobs/rows*")
    page.wait_for_timeout(2.5 * POLL_SECONDS * 1000)
    assert held == []
    page.evaluate(HIDE, False)
    wait_for(page, held, 1, seconds=POLL_SECONDS / 2)
    held[0].continue_()


def test_a_burst_of_news_asks_for_the_page_once_more(open_page: OpenPage, gradmill: Product, long_job: str) -> None:
    """Many changes of a job while its page is being fetched lead to one further request, after the first."""
    page = open_page(f"/ui/jobs/{long_job}")
    expect(page.locator("#live")).to_have_text("live")
    # the page itself has loaded
    held = hold(page, lambda url: url.endswith(f"/ui/jobs/{long_job}"))
    for change, status in (("pause", "paused"), ("resume", "running")) * 2:
        gradmill.post(f"/v1/jobs/{long_job}/{change}").raise_for_status()
        gradmill.wait(long_job, status)
    wait_for(page, held, 1)
    page.wait_for_timeout(1000)
    assert len(held) == 1
    held[0].continue_()
    wait_for(page, held, 2)
    held[1].continue_()
    page.wait_for_timeout(1000)
    assert len(held) == 2
