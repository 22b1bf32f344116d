"""The way into the dashboard."""

import re

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, log_in, login_path
from tests.products import Product

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", ["/", "/ui", "/ui/jobs", "/docs", "/ui/no-such-page"])
def test_a_page_without_a_session_leads_to_the_login(open_page: OpenPage, path: str) -> None:
    """Every page does so, also one that does not exist."""
    page = open_page(path, key=None)
    expect(page).to_have_url(re.compile(r"/ui/login(\?next=.*)?$"))
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_deep_link_survives_the_login(open_page: OpenPage, gradmill: Product) -> None:
    """Also after a mistake; the browser sends its Origin with the form, which is this server's."""
    page = open_page("/ui/jobs?status=running", key=None)
    page.get_by_label("API key").fill("not the key")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert").filter(has_text="not the key of this server")).to_be_visible()
    page.get_by_label("API key").fill(gradmill.key)
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.get_by_role("button", name="Log in").click()
    assert sent.value.all_headers()["origin"] == gradmill.url
    expect(page).to_have_url("/ui/jobs?status=running")


def test_the_key_opens_the_jobs_and_logging_out_closes_them(open_page: OpenPage) -> None:
    """After the logout the jobs lead to the login again."""
    page = open_page()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url("/ui/login")
    page.goto("/ui/jobs")
    expect(page).to_have_url("/ui/login")


def test_a_wrong_key_is_refused_with_a_message(open_page: OpenPage) -> None:
    """The login page says so, with the status 401."""
    page = open_page("/ui/login", key=None)
    with page.expect_response(lambda response: response.request.method == "POST") as answer:
        log_in(page, "not the key")
    assert answer.value.status == 401
    expect(page.get_by_role("alert").filter(has_text="not the key of this server")).to_be_visible()


def test_a_login_form_from_elsewhere_is_refused(gradmill: Product) -> None:
    """Without the CSRF token nobody is logged in, whatever the key."""
    answer = httpx2.post(f"{gradmill.url}/ui/login", data={"key": gradmill.key})
    assert answer.status_code == 400
    assert httpx2.get(f"{gradmill.url}/ui/jobs", cookies=answer.cookies).status_code == 302


def test_the_printed_link_works_once(open_page: OpenPage, gradmill: Product) -> None:
    """A HEAD request does not use it up; the second use is refused with a message."""
    path = login_path(gradmill)
    assert httpx2.head(gradmill.url + path).status_code == 200
    page = open_page(path, key=None)
    expect(page).to_have_url("/ui/jobs")
    again = open_page("/ui/login", key=None)
    answer = again.goto(path)
    assert answer is not None
    assert answer.status == 401
    expect(again.get_by_role("alert").filter(has_text="used before")).to_be_visible()
    again.goto("/ui/jobs")
    expect(again).to_have_url("/ui/login")
