"""Looking for a study in MLflow; what is found there is seen in a browser."""

from __future__ import annotations

from pathlib import Path

from autockd.records import Event, StudyStarted
from autockd.tracking.mlflow_lookup import pages
from autockd.tracking.mlflow_store import default_uri
from autockd.tracking.study_page import study_page


def test_a_look_makes_no_database(tmp_path: Path, study: list[Event]) -> None:
    start = next(event for event in study if isinstance(event, StudyStarted))
    assert study_page(default_uri(tmp_path), "digits", start) == ""
    assert study_page("http://127.0.0.1:1", "digits", None) == "", "nobody is asked"
    assert list(tmp_path.iterdir()) == []


def test_every_page_is_read_once_until_one_names_no_other() -> None:
    class Page(list[int]):
        token: str | None = None

    def fetch(token: str | None) -> Page:
        asked.append(token)
        page = Page(numbers[token])
        page.token = {None: "a", "a": "b", "b": ""}[token]
        return page

    asked: list[str | None] = []
    numbers: dict[str | None, list[int]] = {None: [1, 2], "a": [], "b": [3]}
    assert list(pages(fetch)) == [1, 2, 3]
    assert asked == [None, "a", "b"]
