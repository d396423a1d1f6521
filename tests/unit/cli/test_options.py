"""Options that stand for fields of a study."""

from __future__ import annotations

import pytest

from autockd.cli.options import changed_by_options
from autockd.errors import UsageError


def test_an_option_comes_after_what_is_written_out() -> None:
    assert changed_by_options(["search.trials=3", "note=x"], 5, "30m") == [
        "search.trials=3",
        "note=x",
        "search.trials=5",
        "search.time_budget=30m",
    ]
    assert changed_by_options(None, None, None) == []


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_time_budget_is_not_taken_for_none(text: str) -> None:
    """Such as that of a shell's variable which is not set; YAML would read it as null, which has no limit."""
    with pytest.raises(UsageError, match=r"--time-budget: is empty -> name a time such as 30m"):
        changed_by_options(None, None, text)
