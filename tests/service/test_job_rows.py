"""The part of the list of jobs that an open page asks for again and again."""

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.ui import jobs
from tests.service.test_sessions import log_in

Post = Callable[..., TestResponse]


@pytest.fixture
def rows_of(client: FlaskClient) -> Callable[[str], tuple[list[str], str]]:
    log_in(client)

    def rows_of(query: str) -> tuple[list[str], str]:
        """The ids of the rows, and how many jobs are said to be newer."""
        text = client.get(f"/ui/jobs/rows?{query}").get_data(as_text=True)
        newer = re.search(r'data-newer="(.*?)"', text)
        assert newer is not None
        return re.findall(r'data-id="(.*?)"', text), newer[1]

    return rows_of


def test_rows_begin_where_the_page_does(post: Post, rows_of: Callable[[str], tuple[list[str], str]]) -> None:
    """Whatever was posted since; without a top, or with one that is no id, with the newest."""
    ids = [post().get_json()["id"] for _ in range(5)][::-1]
    assert rows_of("") == (ids, "0")
    assert rows_of(f"top={ids[0]}") == (ids, "0")
    assert rows_of(f"top={ids[2]}") == (ids[2:], "2")
    assert rows_of(f"top={ids[2]}&status=queued") == (ids[2:], "2")
    assert rows_of(f"top={ids[2]}&status=failed") == ([], "0")
    assert rows_of(f"top={ids[2]}&cursor={ids[3]}") == (ids[4:], "0")
    assert rows_of("top=job_zz") == (ids, "0")
    # the largest id there can be has none that follows
    assert rows_of("top=job_" + "f" * 32) == (ids, "0")


def test_newer_jobs_are_counted_up_to_a_limit(
    post: Post, rows_of: Callable[[str], tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting all of them would cost more the longer a page is open."""
    monkeypatch.setattr(jobs, "NEWER_LIMIT", 3)
    ids = [post().get_json()["id"] for _ in range(5)]
    assert [rows_of(f"top={top}")[1] for top in ids] == ["2+", "2+", "2", "1", "0"]
