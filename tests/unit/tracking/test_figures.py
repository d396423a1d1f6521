from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autockd.tracking.figures import plan_figure


def lines(axis: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.get_lines()}


def test_a_plan_is_drawn_in_epochs_with_the_last_value_held() -> None:
    columns = {"hard_weight": [0.0, 0.0, 1.0, 1.0], "smoothing": [0.5, 0.5, 1.0, 1.0], "margin": [0.1, 0.1, 0.2, 0.2]}
    figure = plan_figure({**columns, "soft_weight": [1.0] * 4}, 2, "a trial")
    shares, margin = figure.axes
    assert lines(shares)["psi (hard_weight)"] == ([0.0, 0.5, 1.0, 1.5, 2.0], [0.0, 0.0, 1.0, 1.0, 1.0])
    assert set(lines(shares)) == {"psi (hard_weight)", "phi (smoothing)"}
    assert list(margin.get_lines()[0].get_ydata()) == [0.1, 0.1, 0.2, 0.2, 0.2]
    assert margin.get_ylabel() == "margin"


@pytest.mark.parametrize("columns", [{}, {"hard_weight": [1.0, 1.0], "learning_rate": [0.1, 0.0]}])
def test_a_plan_of_any_method_can_be_saved(columns: dict[str, list[float]], tmp_path: Path) -> None:
    plan_figure(columns, 1, "baseline").savefig(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
