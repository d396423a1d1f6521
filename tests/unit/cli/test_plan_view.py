"""The preview's table, curves and picture."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from autockd.cli.output import console, plain_data
from autockd.cli.preview import curve, in_order, plan_table, save_plot
from autockd.config import StudyConfig
from autockd.errors import EnvironmentProblem, UsageError
from autockd.report.preview import Preview, preview
from autockd.text import spread


def plan(epochs: int, **method: object) -> Preview:
    model = {"family": "cifar_resnet", "depth": 8}
    study = {
        "name": "tiny",
        "task": {"source": "digits"},
        "teacher": {"model": model},
        "student": {"model": model},
        "method": {"name": "continuation", **method},
        "training": {"epochs": epochs},
    }
    return preview(StudyConfig.model_validate(study))


@pytest.mark.parametrize(("length", "count"), [(1, 12), (5, 12), (12, 12), (13, 12), (200, 12), (1000, 60)])
def test_a_spread_has_both_ends_and_rises(length: int, count: int) -> None:
    picked = spread(length, count)
    assert (picked[0], picked[-1], len(picked)) == (0, length - 1, min(length, count))
    assert picked == sorted(set(picked))


def test_a_curve_spans_its_blocks_and_a_constant_is_flat() -> None:
    assert curve([0, 1, 2, 3, 4, 5, 6, 7], 60) == "▁▂▃▄▅▆▇█"
    assert curve([0.2] * 5, 3) == "▄▄▄"
    assert len(curve([float(x) for x in range(1000)], 60)) == 60


def test_phi_psi_margin_and_learning_rate_come_first() -> None:
    names = in_order({"temperature": [], "learning_rate": [], "hard_weight": [], "smoothing": []})
    assert names == ["smoothing", "hard_weight", "learning_rate", "temperature"]


def test_the_table_shows_a_dozen_steps_of_the_papers_run() -> None:
    stream = io.StringIO()
    console(stream).print(plan_table(plan(200, smoothing_start=20)))
    lines = stream.getvalue().splitlines()
    assert lines[0].strip() == "continuation, 200 epochs"
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert len(rows) == 12
    # epoch, of the run, phi, psi: psi_1 = 1/150 and phi_1 = 1/20 (the preset's), both 1 at the end
    assert rows[0][:4] == ["1", "0%", "0.05", "0.006667"]
    assert rows[-1][:4] == ["200", "100%", "1", "1"]
    assert "phi (smoothing)" in lines[2]
    assert "psi (hard_weight)" in lines[2]


def test_a_short_run_whose_schedules_advance_by_steps_is_shown_from_its_start() -> None:
    stream = io.StringIO()
    console(stream).print(plan_table(plan(1, smoothing_start=10, granularity="step")))
    rows = [line.split()[:4] for line in stream.getvalue().splitlines() if line.strip()[:1].isdigit()]
    assert rows[0] == ["1", "0%", "0.1", "0.01333"], "psi_1 = 1/75"
    assert rows[-1] == ["1", "100%", "1", "1"]
    assert len(rows) == 12


@pytest.mark.parametrize(("epochs", "length"), [(3, 300), (30, 1000)])
def test_as_data_a_preview_has_as_many_values_in_every_column(epochs: int, length: int) -> None:
    data = plain_data(plan(epochs, smoothing_start=2))
    assert isinstance(data["columns"], dict)
    assert {len(column) for column in [*data["columns"].values(), data["epoch"], data["progress"]]} == {length}


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    save_plot(plan(20, smoothing_start=5), tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--plot: .* does not end in \.png"):
        save_plot(plan(20), tmp_path / "plan.svg")
    with pytest.raises(EnvironmentProblem, match=r"--plot: cannot write .*no such file"):
        save_plot(plan(20), tmp_path / "nowhere" / "plan.png")
