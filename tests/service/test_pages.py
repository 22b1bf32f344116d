"""What the pages take from the record's tables: a badge for each status, a label for each column, one CSV."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest
from flask import Flask, url_for
from flask.testing import FlaskClient

from service.schemas.jobs import Curve, EpochSummary
from service.ui.assets import FOLDER
from service.ui.job import BUTTONS
from service.ui.wording import CURVE_LABELS
from worker.records.points import COLUMNS, FIGURES, SUMMARY, Point
from worker.records.states import CHANGES, STATUSES, Status

STYLES = "\n".join(path.read_text() for path in Path(FOLDER).glob("*.css"))


@pytest.fixture
def curve_of_page(client: FlaskClient) -> Callable[[str], str]:
    """The CSV that the page's link downloads."""

    def read(job_id: str) -> str:
        answer = client.get(f"/ui/jobs/{job_id}/curve.csv")
        assert answer.status_code == 200
        return answer.get_data(as_text=True)

    return read


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_its_badge(app: Flask, status: Status) -> None:
    """A badge has an icon with something drawn in it, and a colour from the stylesheet."""
    with app.app_context():
        macros = app.jinja_env.get_template("_macros.html").module
    badge = str(macros.status_chip(status))  # type: ignore[attr-defined]
    assert f'class="status status-{status}"' in badge
    assert "<path" in badge or "<circle" in badge
    assert f".status-{status} {{" in STYLES or f".status-{status}," in STYLES


def test_every_change_has_its_route_and_its_button(app: Flask) -> None:
    """What a client may ask of a job, it can ask of the API and on the job's page."""
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    assert {f"/v1/jobs/<job_id>/{change}" for change in CHANGES} <= routes
    assert set(BUTTONS) == set(CHANGES)
    with app.test_request_context():
        assert all(url_for("ui.change_job", job_id="job_0", change=change) for change in BUTTONS)


def test_every_figure_of_the_curve_has_a_label_or_is_left_out_on_purpose() -> None:
    """The page's table names each column of figures, or says that it has none."""
    assert tuple(CURVE_LABELS) == FIGURES


def test_the_apis_curve_has_every_column() -> None:
    """Only is_best is left out: events carry it, and the job shows the best epoch itself."""
    columns = ["epoch" if name == "epochs" else name for name in Curve.model_fields]
    assert columns == [name for name in COLUMNS if name != "is_best"]
    assert tuple(EpochSummary.model_fields) == SUMMARY


def test_the_apis_curve_says_which_figures_an_epoch_may_lack() -> None:
    """An element of a column is nullable where the figure of a point is; metrics are columns of their own."""
    hints = get_type_hints(Point)
    for name, field in Curve.model_fields.items():
        if name != "metrics":
            of_point = NoneType in get_args(hints["epoch" if name == "epochs" else name])
            assert (NoneType in get_args(get_args(field.annotation)[0])) == of_point, name


def test_both_csvs_of_a_curve_are_the_same_bytes(
    succeeded: Callable[..., str], client: FlaskClient, curve_of_page: Callable[[str], str]
) -> None:
    """The API and the page write the same columns in the same order, with the same figures."""
    job_id = succeeded(training={"metrics": ["accuracy", "macro_f1"]})
    answer = client.get(f"/v1/jobs/{job_id}/curve", headers={"Accept": "text/csv"}).get_data(as_text=True)
    assert curve_of_page(job_id) == answer
    header, *rows = csv.reader(io.StringIO(answer))
    names = [f"{part}_{metric}" for part in ("train", "validation") for metric in ("accuracy", "macro_f1")]
    figures = ["epoch", "train_loss", "validation_loss", "learning_rate", "gradient_norm", "seconds"]
    assert header[: len(figures)] == figures
    assert header[-len(names) :] == names
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]


def test_a_jobs_page_has_its_remarks_and_its_folds(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """And a way to the predictions for the rows held out; a job without either shows neither."""
    lines = [f"{n % 7 if n else '?'},{'yn'[n % 3 == 0]}" for n in range(60)]
    content = "\n".join(["size,sick", *lines]).encode()
    dataset = client.post("/v1/datasets", data=content, content_type="text/csv").get_json()["id"]
    job: dict[str, Any] = {"dataset": {"source": "stored", "id": dataset}, "target": "sick"}
    folded = succeeded(**job, training={"epochs": 2, "validation": {"folds": 3}})
    plain = succeeded()
    page = client.get(f"/ui/jobs/{folded}").text
    assert "1 remark on the table" in page
    assert "<strong>size</strong> is text, though most of its cells are numbers" in page
    assert "Mean and deviation over 3 folds" in page
    assert f"/v1/jobs/{folded}/held-out" in page
    other = client.get(f"/ui/jobs/{plain}").text
    assert "on the table" not in other
    assert "held-out" not in other
