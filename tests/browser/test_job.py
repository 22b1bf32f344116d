"""The live job page."""

import gzip
import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, StartJob
from tests.products import Product

pytestmark = pytest.mark.slow

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def streams_of(page: Page) -> list[str]:
    """The addresses of the event streams that the page opens from now on."""
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if request.resource_type == "eventsource" else None)
    return opened


def test_the_loss_is_drawn_live_from_the_event_stream(open_page: OpenPage, long_job: str) -> None:
    """Legend, epoch, summary and figures move on without a reload, by one stream."""
    page = open_page()
    streams = streams_of(page)
    page.goto(f"/ui/jobs/{long_job}")
    expect(page.locator("#loss canvas")).to_be_visible()
    expect(page.locator("#live")).to_have_text("live")
    assert [url for url in streams if f"/v1/jobs/{long_job}/events" in url]
    for moving in ("#loss .legend output", "[data-field=epoch]", "[data-field=summary]", "[data-point=latest]"):
        element = page.locator(moving).first
        expect(element).not_to_have_text(element.inner_text())


def test_the_best_epoch_is_the_one_that_the_server_says(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """Accuracy is monitored and soon perfect; the loss goes on falling, and does not make later epochs the best."""
    job_id = start_job(
        "monitored",
        dataset={"source": "generator", "name": "moons", "rows": 2000, "noise": 0.02},
        epochs=100_000,
        optimizer={"type": "adam", "learning_rate": 0.003},
        early_stopping={"monitor": "validation_accuracy", "patience": 100_000},
    )["id"]
    job = gradmill.wait(job_id, "running")
    while not job["best"] or job["best"]["metrics"]["validation_accuracy"] < 1:
        time.sleep(0.05)
        job = gradmill.get(f"/v1/jobs/{job_id}").json()
    page = open_page(f"/ui/jobs/{job_id}")
    latest = page.locator("[data-point=latest][data-figure=epoch]")
    for _ in range(2):
        expect(latest).not_to_have_text(latest.inner_text())
    curve = gradmill.get(f"/v1/jobs/{job_id}/curve").json()
    lowest = min(zip(curve["validation_loss"], curve["epochs"], strict=True))[1]
    assert lowest > job["best"]["epoch"]
    best = f"{job['best']['epoch']:,}"
    expect(page.locator("[data-point=best][data-figure=epoch]")).to_have_text(best)
    expect(page.locator("[data-field=summary]")).to_contain_text(f"the best epoch is {best}, with a validation loss of")


def test_a_new_best_epoch_comes_with_the_stream(open_page: OpenPage, long_job: str) -> None:
    """The loss falls in every epoch, and the page learns of each new best without being loaded again."""
    page = open_page(f"/ui/jobs/{long_job}")
    page.evaluate("window.sameDocument = true")
    best = page.locator("[data-point=best][data-figure=epoch]")
    for _ in range(2):
        expect(best).not_to_have_text(best.inner_text())
    assert page.evaluate("window.sameDocument")


def test_train_and_validation_differ_by_more_than_their_hue(open_page: OpenPage, long_job: str) -> None:
    """One line is solid, the other dashed."""
    page = open_page(f"/ui/jobs/{long_job}")
    legend = page.locator("#loss .legend")
    expect(legend).to_contain_text("train")
    expect(legend).to_contain_text("validation")
    styles = legend.locator(".swatch").evaluate_all("all => all.map((one) => getComputedStyle(one).borderTopStyle)")
    assert styles == ["solid", "dashed"]


def test_the_log_axis_is_kept_in_the_address(open_page: OpenPage, long_job: str) -> None:
    """It changes the picture, survives a reload, and leaves the address when it is switched off."""
    page = open_page(f"/ui/jobs/{long_job}")
    before = page.locator("#loss canvas").screenshot()
    page.get_by_label("log axis").check()
    expect(page).to_have_url(re.compile(r"\?log=1$"))
    assert page.locator("#loss canvas").screenshot() != before
    page.reload()
    expect(page.get_by_label("log axis")).to_be_checked()
    page.get_by_label("log axis").uncheck()
    expect(page).to_have_url(re.compile(rf"{long_job}$"))


@pytest.mark.parametrize("losses", [[1, 0, 0.5, -0.25], [0, 0, 0, 0], [None, None, None, None]])
def test_a_log_axis_bears_values_that_have_no_logarithm(
    open_page: OpenPage, long_job: str, losses: list[float | None]
) -> None:
    """Zero, negative and missing losses leave a gap; the axis fits the others, and nothing is thrown."""
    page = open_page(f"/ui/jobs/{long_job}")
    low, high, drawn = page.evaluate(
        """async (losses) => {
          const base = document.querySelector('script[type="module"]').src;
          const { Chart } = await import(new URL("chart.js", base));
          const { Curve } = await import(new URL("curve.js", base));
          const curve = new Curve();
          curve.replace({ epochs: [1, 2, 3, 4], train_loss: losses, validation_loss: losses, metrics: {} });
          const figure = document.getElementById("loss").cloneNode(true);
          figure.querySelector(".plot").replaceChildren();
          document.getElementById("main").append(figure);
          const lines = [{ name: "train_loss", label: "train", className: "line-1" }];
          const chart = new Chart(figure, curve, lines, { log: true, best: true });
          await new Promise(requestAnimationFrame);
          const { min, max } = chart.plot.scales.y;
          return [min, max, [...chart.plot.data[1]]];
        }""",
        losses,
    )
    assert 0 < low < high
    assert drawn == [loss if loss is not None and loss > 0 else None for loss in losses]


def test_the_page_shows_the_final_state_when_the_job_ends(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """Status, evaluation, weights and last loss appear without a reload, and the end is announced."""
    job_id = start_job("ends", epochs=3000, test={"fraction": 0.2})["id"]
    page = open_page(f"/ui/jobs/{job_id}")
    assert page.locator(".status-succeeded").count() == 0
    page.evaluate("window.sameDocument = true")
    expect(page.locator(".status-succeeded")).to_be_visible(timeout=60_000)
    expect(page.locator("#live")).to_have_text("ended")
    expect(page.get_by_role("heading", name="Test part")).to_be_visible()
    expect(page.locator(".confusion").first).to_be_visible()
    expect(page.get_by_role("link", name="Weights")).to_be_visible()
    expect(page.locator("#announcement")).to_have_text("The job is succeeded.")
    last = gradmill.get(f"/v1/jobs/{job_id}").json()["latest"]["train_loss"]
    expect(page.locator("#loss .legend output").first).to_have_text(re.compile(f"^{str(last)[:5]}|e-"))
    assert page.evaluate("window.sameDocument")


def test_a_failed_job_says_why(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The page has the error's code and message."""
    job_id = start_job("fails", optimizer={"type": "sgd", "learning_rate": 1000}, epochs=50, l2=100)["id"]
    job = gradmill.wait(job_id)
    assert job["status"] == "failed"
    page = open_page(f"/ui/jobs/{job_id}")
    expect(page.locator(".alert").filter(has_text="diverged")).to_contain_text(job["error"]["message"])


def test_pause_resume_and_cancel_work_in_place(open_page: OpenPage, long_job: str) -> None:
    """The buttons change the status without a reload, and go when the job has ended."""
    page = open_page(f"/ui/jobs/{long_job}")
    page.evaluate("window.sameDocument = true")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".status-paused")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".status-running")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status-cancelled")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert page.evaluate("window.sameDocument")


def test_a_refusal_shows_its_title_detail_and_request_id(open_page: OpenPage, gradmill: Product, long_job: str) -> None:
    """A problem of the API is shown on the page."""
    page = open_page(f"/ui/jobs/{long_job}")
    page.evaluate("""document.querySelector('[name="pause"]').form.dataset.api += "-it" """)
    page.get_by_role("button", name="Pause").click()
    alert = page.locator("#problems .alert")
    expect(alert).to_contain_text("Not Found")
    expect(alert).to_contain_text(re.compile(r"request [0-9a-f]{32}"))


def test_a_hidden_tab_stops_its_stream_and_goes_on_from_the_last_event(open_page: OpenPage, long_job: str) -> None:
    """Nothing moves while it is hidden; the next stream starts after the last event seen."""
    page = open_page()
    streams = streams_of(page)
    page.goto(f"/ui/jobs/{long_job}")
    epoch = page.locator("[data-field=epoch]")
    expect(epoch).not_to_have_text(epoch.inner_text())
    page.evaluate(HIDE, True)
    expect(page.locator("#live")).to_have_text("paused")
    page.wait_for_timeout(500)
    stopped = epoch.inner_text()
    page.wait_for_timeout(1000)
    assert epoch.inner_text() == stopped
    page.evaluate(HIDE, False)
    expect(page.locator("#live")).to_have_text("live")
    expect(epoch).not_to_have_text(stopped)
    first, second = (int(url.rsplit("after=", 1)[1]) for url in streams)
    assert second > first


def test_without_scripts_the_page_is_a_table_and_a_form(open_page: OpenPage, gradmill: Product, long_job: str) -> None:
    """The curve is a table of at most 50 rows, and a button works as a plain form."""
    page = open_page(f"/ui/jobs/{long_job}", java_script_enabled=False)
    rows = page.locator("#as-table tbody tr")
    assert 1 <= rows.count() <= 50
    expect(rows.first).to_be_visible()
    expect(page.locator("figcaption").first).to_contain_text("Train loss")
    expect(page.locator(".plot").first).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(page).to_have_url(f"/ui/jobs/{long_job}")
    assert gradmill.wait(long_job)["status"] == "cancelled"
    page.reload()
    expect(page.locator(".status-cancelled")).to_be_visible()


def test_the_curve_downloads_as_csv(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The link saves a file with a row for each epoch."""
    job_id = start_job("csv")["id"]
    gradmill.wait(job_id)
    page = open_page(f"/ui/jobs/{job_id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Curve (CSV)").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("epoch,train_loss,validation_loss")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]


def test_arrow_keys_read_the_curve(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The epoch under the cursor is announced."""
    job_id = start_job("keys")["id"]
    gradmill.wait(job_id)
    page = open_page(f"/ui/jobs/{job_id}")
    expect(page.locator("#loss canvas")).to_be_visible()
    page.locator("#loss .plot").press("ArrowLeft")
    expect(page.locator("#announcement")).to_contain_text("epoch 4")


def test_an_unknown_job_is_a_page(open_page: OpenPage) -> None:
    """The 404 is a page, not a JSON document."""
    page = open_page()
    answer = page.goto(f"/ui/jobs/job_{'0' * 32}")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="Not Found")).to_be_visible()


def test_the_job_page_needs_at_most_60_kilobytes_of_scripts(
    open_page: OpenPage, gradmill: Product, long_job: str
) -> None:
    """This counts every script that the page has loaded, uPlot among them, compressed."""
    page = open_page()
    page.goto(f"/ui/jobs/{long_job}")
    expect(page.locator("#loss canvas")).to_be_visible()
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    scripts = {url: len(gzip.compress(gradmill.get(url).content)) for url in loaded if url.endswith(".js")}
    assert any("uPlot" in url for url in scripts)
    assert sum(scripts.values()) <= 60_000
