"""What the job page says of a run beyond its loss: hints, metrics, the layers, and the labels of an evaluation."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from service.ui.wording import number
from tests.browser.conftest import OpenPage, StartJob
from tests.products import Product

pytestmark = pytest.mark.slow

STUCK = {"optimizer": {"type": "sgd", "learning_rate": 1e-9}}
LOGIC = [[x, y, int(x and y), int(x or y)] for x in (0, 1) for y in (0, 1)] * 20
Y_SCALE = """async (curve) => {
  const base = document.querySelector('script[type="module"]').src;
  const { LayersChart } = await import(new URL("layers.js", base));
  const figure = document.getElementById("layers").cloneNode(true);
  figure.querySelector(".plot").replaceChildren();
  document.getElementById("main").append(figure);
  const layers = new LayersChart(figure, ["dense", "dropout", "output"], () => {});
  layers.replace(curve);
  layers.draw();
  await new Promise(requestAnimationFrame);
  const { data, scales } = layers.chart.plot;
  return { data: data.map((column) => [...column]), scale: scales.y.distr, low: scales.y.min };
}"""


def entries(page: Page, chart: str) -> Locator:
    """The legend's entries, the last of which is the epoch."""
    return page.locator(f"{chart} .legend li")


def test_hints_appear_in_words_when_the_job_ends(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The page shows the API's hints without being loaded again."""
    job_id = start_job("stuck", rows=2000, epochs=1500, **STUCK)["id"]
    page = open_page(f"/ui/jobs/{job_id}")
    page.evaluate("window.sameDocument = true")
    hints = page.locator("[data-part=hints]")
    expect(hints).to_be_empty()
    expect(hints.locator("li")).to_contain_text(["hardly moved since the first epoch"], timeout=60_000)
    said = gradmill.get(f"/v1/jobs/{job_id}").json()["hints"][0]["message"]
    assert hints.locator("li").inner_text().lower() == f"{said}.".lower()
    assert page.evaluate("window.sameDocument")


def test_hints_need_no_scripts(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The server renders them."""
    job_id = start_job("stuck", epochs=10, **STUCK)["id"]
    gradmill.wait(job_id)
    page = open_page(f"/ui/jobs/{job_id}", java_script_enabled=False)
    expect(page.get_by_role("heading", name="Hint")).to_be_visible()


def test_a_job_without_hints_has_no_place_for_them(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """Four epochs are too few to judge, so there are no hints and no heading."""
    job_id = start_job("short", epochs=4)["id"]
    assert gradmill.wait(job_id)["hints"] == []
    page = open_page(f"/ui/jobs/{job_id}")
    expect(page.locator("#loss canvas")).to_be_visible()
    expect(page.get_by_role("heading", name="Hint")).to_have_count(0)


def test_the_metrics_caption_tells_the_validation_metric(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """The caption has the API's figure of the last epoch."""
    job_id = start_job("told")["id"]
    latest = gradmill.wait(job_id)["latest"]
    assert set(latest["metrics"]) == {"train_accuracy", "validation_accuracy"}
    caption = open_page(f"/ui/jobs/{job_id}").locator("#metric figcaption")
    expect(caption).to_contain_text(f"alidation accuracy is {number(latest['metrics']['validation_accuracy'])}")
    expect(caption).to_contain_text("after epoch 5.")


def test_without_a_validation_part_the_caption_tells_the_train_metric(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """There is no other metric to name."""
    job_id = start_job("all train", validation={"fraction": 0})["id"]
    gradmill.wait(job_id)
    page = open_page(f"/ui/jobs/{job_id}")
    expect(page.locator("#metric figcaption")).to_contain_text("rain accuracy is 0.")


def test_the_two_of_a_metric_share_a_hue_and_differ_in_their_dashes(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """Train and validation of one metric have one colour; another metric has another."""
    job_id = start_job("pairs", metrics=["accuracy", "macro_f1"])["id"]
    gradmill.wait(job_id)
    page = open_page(f"/ui/jobs/{job_id}")
    expect(entries(page, "#metric")).to_contain_text(
        ["train accuracy", "validation accuracy", "train macro F1", "validation macro F1", "epoch"]
    )
    swatches = page.locator("#metric .swatch")
    styles = swatches.evaluate_all("all => all.map((one) => getComputedStyle(one).borderTopStyle)")
    assert styles == ["solid", "dashed", "solid", "dashed"]
    hues = swatches.evaluate_all("all => all.map((one) => getComputedStyle(one).color)")
    assert (hues[0], hues[2]) == (hues[1], hues[3])
    assert hues[0] != hues[2]


@pytest.mark.parametrize("figure", ["gradient_norm", "weight_norm", "update_norm"])
def test_the_layers_chart_shows_the_chosen_figure_of_each(
    open_page: OpenPage, gradmill: Product, start_job: StartJob, figure: str
) -> None:
    """The legend has the API's figures of the last epoch; the gradient's norms are shown first."""
    job_id = start_job("layers")["id"]
    gradmill.wait(job_id)
    last = gradmill.get(f"/v1/jobs/{job_id}/curve").json()["layers"][-1]
    page = open_page(f"/ui/jobs/{job_id}")
    select = page.get_by_label("Figure of each layer")
    expect(select).to_have_value("gradient_norm")
    select.select_option(figure)
    expect(entries(page, "#layers")).to_contain_text(
        [f"0 dense {number(last[0][figure])}", f"1 output {number(last[1][figure])}", "epoch 5"]
    )
    expect(page.locator("#layers canvas")).to_be_visible()


def test_the_layers_are_drawn_live(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The layers' legend moves on with the epochs."""
    job_id = start_job("lives", rows=2000, units=64, epochs=256 * 20)["id"]
    gradmill.wait(job_id, "running")
    page = open_page(f"/ui/jobs/{job_id}")
    epoch = entries(page, "#layers").last
    expect(epoch).to_contain_text("epoch")
    expect(epoch).not_to_have_text(epoch.inner_text())


def test_layers_have_a_log_axis_and_skip_epochs_and_layers_without_figures(open_page: OpenPage, long_job: str) -> None:
    """Only epochs with figures are points, and only layers with a norm are lines."""

    def layer(norm: float | None) -> dict[str, Any]:
        return {"units": 4, "gradient_norm": norm, "weight_norm": norm, "update_norm": norm, "dead_units": None}

    first, fourth = ([layer(norm), layer(None), layer(norm / 10)] for norm in (4.0, 0.5))
    curve = {"epochs": [1, 2, 3, 4], "layers": [first, None, None, fourth]}
    drawn = open_page(f"/ui/jobs/{long_job}").evaluate(Y_SCALE, curve)
    logarithmic = 3
    assert drawn == {"data": [[1, 4], [4.0, 0.5], [0.4, 0.05]], "scale": logarithmic, "low": 0.05}


def test_without_figures_the_layers_chart_is_hidden(
    open_page: OpenPage, gradmill: Product, start_job: StartJob
) -> None:
    """The other charts are drawn all the same."""

    def without_layers(route: Route) -> None:
        curve = route.fetch().json()
        route.fulfill(json=curve | {"layers": [None for _ in curve["epochs"]]})

    job_id = start_job("bare")["id"]
    gradmill.wait(job_id)
    page = open_page()
    page.route("**/curve?*", without_layers)
    page.goto(f"/ui/jobs/{job_id}")
    expect(page.locator("#metric canvas")).to_be_visible()
    expect(page.locator("#layers")).to_be_hidden()


def test_the_labels_of_an_evaluation_are_a_table(open_page: OpenPage, gradmill: Product, start_job: StartJob) -> None:
    """The cells are the evaluation's, and each row's sum is the number of rows of the part."""
    dataset = {"source": "inline", "columns": ["x", "y", "and", "or"], "rows": LOGIC}
    job_id = start_job("logic", dataset=dataset, target=["and", "or"], loss="binary_cross_entropy")["id"]
    gradmill.wait(job_id, "succeeded")
    found = gradmill.get(f"/v1/jobs/{job_id}/evaluation").json()["validation"]
    page = open_page(f"/ui/jobs/{job_id}", java_script_enabled=False)
    table = page.get_by_role("region", name="Labels, validation part")
    assert table.locator("thead th").all_inner_texts()[1:] == [
        "True positive",
        "False positive",
        "False negative",
        "True negative",
    ]
    assert table.locator("tbody th").all_inner_texts() == ["and", "or"]
    cells = [int(text) for text in table.locator("tbody td").all_inner_texts()]
    outcomes = ("true_positive", "false_positive", "false_negative", "true_negative")
    assert cells == [found["labels"][name][outcome] for name in ("and", "or") for outcome in outcomes]
    assert [sum(cells[:4]), sum(cells[4:])] == [found["rows"]] * 2
