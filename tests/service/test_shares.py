"""The share of the connections that lists and pages may use."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from flask.testing import FlaskClient

from service import shares
from service.app import all_operations
from service.context import Parts
from service.problems import Problem
from service.shares import Share, share_of
from service.ui.pages import ROUTES
from tests.conftest import SPEC


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "WAIT_SECONDS", 0.05)


@contextmanager
def used_up(share: Share, size: int) -> Iterator[None]:
    with ExitStack() as turns:
        for _ in range(size):
            turns.enter_context(share.turn())
        yield


def test_lists_use_less_than_half_of_the_connections(parts: Parts, client: FlaskClient) -> None:
    """Four of ten lists run at the same time; the fifth is refused, and others are answered all the same."""
    with used_up(parts.lists_share, 4):
        refused = client.get("/v1/jobs")
        assert (refused.status_code, refused.get_json()["code"]) == (503, "busy")
        assert refused.content_type == "application/problem+json"
        assert refused.headers["Retry-After"] == "5"
        for path in ("/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        assert client.post("/v1/jobs", json=SPEC).status_code == 202
    assert client.get("/v1/jobs").status_code == 200


def test_a_page_is_refused_in_words(parts: Parts, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error page asks the database for nothing: a connection may be what is lacking."""
    with used_up(parts.lists_share, 4), monkeypatch.context() as patch:
        # `any_alive` is what the line above every page asks
        patch.setattr("service.api.system.any_alive", lambda *_, **__: pytest.fail("asked"))
        refused = client.get("/ui/jobs")
        assert refused.status_code == 503
        assert "too many pages and lists" in refused.get_data(as_text=True)
        assert refused.headers["Retry-After"] == "5"
    assert client.get("/ui/jobs").status_code == 200


def test_another_protocols_list_is_refused_in_its_own_form(parts: Parts, client: FlaskClient) -> None:
    """The index of the Open Inference Protocol has an `error` and no problem document."""
    with used_up(parts.lists_share, 4):
        refused = client.post("/v2/repository/index")
        assert refused.status_code == 503
        assert set(refused.get_json()) == {"error"}


def test_every_list_is_declared_heavy() -> None:
    """Each route with a cursor, the figures of everything, and the pages that show lists or curves."""
    lists = [known for known in all_operations() if known.query and "cursor" in known.query.model_fields]
    assert len(lists) >= 6
    assert [known.path for known in lists if not known.heavy] == []
    heavy = {known.path for known in all_operations() if known.heavy}
    assert {"/metrics", "/v1/system", "/v1/jobs/<job_id>/curve"} <= heavy
    assert {route.name for route in ROUTES if route.heavy} == {"jobs", "job_rows", "job", "curve_csv"}


def test_what_must_always_be_answered_is_not_heavy() -> None:
    """Health, readiness, submissions, predictions, and every change."""
    heavy = {(known.method, known.path) for known in all_operations() if known.heavy}
    assert {method for method, path in heavy if path.startswith("/v1/")} == {"GET"}
    assert not [path for _, path in heavy if "predict" in path and path != "/v1/predictions"]
    assert not heavy & {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/v1/jobs/<job_id>")}


def test_a_turn_is_given_back_after_an_error() -> None:
    """A handler that raises keeps no turn."""
    share = Share(1, waiting=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="of the handler"), share.turn():
            raise ValueError("of the handler")
    with share.turn():
        pass


def test_who_waits_gets_the_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for seconds before it is refused."""
    monkeypatch.setattr(shares, "WAIT_SECONDS", 10)
    share, got = Share(1, waiting=1), threading.Event()

    def wait() -> None:
        with share.turn():
            got.set()

    with share.turn():
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.1)
        # one waits already: the third keeps no thread
        while share._present._value:  # type: ignore[attr-defined]
            time.sleep(0.01)
        with pytest.raises(Problem), share.turn():
            pass
    assert got.wait(5)
    waiting.join()


@pytest.mark.parametrize(("connections", "size"), [(3, 1), (10, 4), (100, 40)])
def test_the_share_follows_the_settings(connections: int, size: int) -> None:
    """Four tenths of the connections, at least one."""
    share = share_of(connections, threads=8)
    with used_up(share, size), pytest.raises(Problem), share.turn():
        pass
