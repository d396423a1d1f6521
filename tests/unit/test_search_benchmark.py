"""The benchmark's own arithmetic: its list of configurations, projections, ratios and when they are void."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import benchmark_search
from search_benchmark.ablation.sitecustomize import MODULES
from search_benchmark.judging import ratio_of, standard_error
from search_benchmark.measuring import Measured, project
from search_benchmark.preparing import forget_other
from search_benchmark.profiles import ARMS, CAPTURE, IMAGE_SPACE, PROFILES, TECHNIQUES
from search_benchmark.setting import Result, sobol_points
from search_benchmark.tables import as_json, ratios_table, waterfall


def run(arm: str, number: int, wall: float, metrics: list[float]) -> Measured:
    return Measured(arm, number, len(metrics), wall, wall, Result(metrics, [wall] * len(metrics), {"search": wall}))


def test_the_list_of_configurations_is_fixed_and_inside_the_space() -> None:
    points = sobol_points(IMAGE_SPACE, 32)
    assert points == sobol_points(IMAGE_SPACE, 32)
    assert points[:5] == sobol_points(IMAGE_SPACE, 5)
    assert len({tuple(point.values()) for point in points}) == 32
    for name, dimension in IMAGE_SPACE.items():
        values = [point[name] for point in points]
        assert dimension["low"] <= min(values)
        assert max(values) <= dimension["high"]
    rates = sorted(point["learning_rate"] for point in points)
    assert rates[16] == pytest.approx(math.sqrt(0.02 * 0.3), rel=0.2)  # logarithmic: half of them lie below


def test_a_further_trial_takes_what_those_after_the_first_wave_took() -> None:
    ends = [130.0, 131.0, 140.0, 141.0]  # two at a time; the first two waited for what is done once
    assert project(45.0, ends, places=2, of=4) == 45
    assert project(45.0, ends, places=2, of=8) == 45 + 4 * 5
    assert project(45.0, [130.0, 138.0], places=1, of=3) == 45 + 8


def test_a_ratio_is_taken_round_by_round() -> None:
    runs = [run("autockd", 0, 10, [0.5, 0.5]), run("naive", 0, 100, [0.5, 0.5])]
    runs += [run("autockd", 1, 20, [0.5, 0.5]), run("naive", 1, 160, [0.5, 0.5])]
    ratio = ratio_of("naive", runs, samples=50)
    assert ratio.rounds == (10, 8)
    assert ratio.median == 9
    assert ratio.holds


def rounds(arm: str, *metrics: list[float]) -> list[Measured]:
    return [run(arm, number, 100, each) for number, each in enumerate(metrics)]


def test_a_ratio_is_void_where_the_students_are_not_as_good() -> None:
    theirs = rounds("naive", [0.60, 0.62, 0.61], [0.61, 0.63, 0.62], [0.59, 0.61, 0.60])
    worse = rounds("autockd", [0.50, 0.52, 0.51], [0.51, 0.53, 0.52], [0.50, 0.52, 0.51])
    ratio = ratio_of("naive", [*theirs, *worse], samples=500)
    assert ratio.difference == pytest.approx(-0.0967, abs=1e-4)
    assert ratio.holds is False
    assert "| naive | 100 s | void | 3 |" in ratios_table([ratio], [*theirs, *worse])
    assert as_json([ratio], theirs)["ratios"][0]["median"] is None
    same = rounds("autockd", [0.605, 0.62, 0.605], [0.61, 0.62, 0.60], [0.60, 0.63, 0.62])
    assert ratio_of("naive", [*theirs, *same], samples=500).holds


def test_the_luck_of_an_order_is_one_observation_however_many_configurations_share_it() -> None:
    assert standard_error([0.5, 0.6], [0.5, 0.5]) == pytest.approx(math.sqrt(0.005 / 2))
    assert math.isnan(standard_error([0.5], [0.5, 0.6]))
    lucky = rounds("naive", [0.70] * 8, [0.60] * 8, [0.62] * 8)
    ours = rounds("autockd", [0.60] * 8, [0.61] * 8, [0.60] * 8)
    assert ratio_of("naive", [*lucky, *ours], samples=500).holds


def test_equal_runs_leave_an_error_of_half_the_smallest_step_of_their_mean() -> None:
    runs = [*rounds("naive", [0.5, 0.7], [0.5, 0.7]), *rounds("autockd", [0.5, 0.7], [0.5, 0.7])]
    assert ratio_of("naive", runs, samples=100).error == 1 / (2 * 100 * 2)


def test_one_round_proves_no_accuracy() -> None:
    runs = [run("autockd", 0, 10, [0.5]), run("naive", 0, 100, [0.5])]
    ratio = ratio_of("naive", runs, samples=100)
    assert ratio.holds is None
    assert "one round cannot tell" in ratios_table([ratio], runs)
    assert json.loads(json.dumps(as_json([ratio], runs), allow_nan=False))["ratios"][0]["error"] is None


def test_tables_and_numbers_have_every_arm() -> None:
    runs = [run("autockd", 0, 10, [0.5]), run("naive", 0, 100, [0.5])]
    off = [run("autockd -bank", 0, 50, [0.48])]
    ratio = ratio_of("naive", runs, samples=5)
    assert "| naive | 100 s | 10.0 (10.0 to 10.0) | 1 |" in ratios_table([ratio], runs)
    assert "| bank | 50 s | 5.00 | 1 | +2.00 |" in waterfall(off, runs[0])
    off += [run("autockd -cuda_graphs", 0, 20, [0.5]), run("autockd -resident_data", 0, 60, [0.5])]
    assert "| resident_data | 60 s | 3.00 | 1 | +0.00 |" in waterfall(off, runs[0]), "without graphs too"
    assert [len(part) for part in as_json([ratio], runs, off).values()] == [1, 2, 3]


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_name_arms_that_there_are(profile: str) -> None:
    for plan in PROFILES[profile].values():
        assert set(plan.arms) <= set(ARMS[plan.kind])
        assert set(plan.off) <= set(TECHNIQUES[plan.kind]) <= {*MODULES, CAPTURE}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "a whole number from 1 up is needed, not 0"),
        (["--arms", "naiv"], "invalid choice: 'naiv'"),
        (["--off", "bnak"], "invalid choice: 'bnak'"),
        (["--profile", "gpu"], "the profile gpu needs a GPU"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark_search.main(["--profile", "tiny", *words])
    assert said in capsys.readouterr().err


def test_each_comparison_takes_the_arms_and_techniques_that_it_has() -> None:
    options = benchmark_search.parser().parse_args(["--profile", "cpu", "--arms", "tuned", "trainer", "--off", "bank"])
    plans = {name: benchmark_search.changed(plan, options) for name, plan in PROFILES["cpu"].items()}
    assert (plans["images"].arms, plans["texts"].arms) == (("tuned",), ("tuned", "trainer"))
    assert plans["images"].off == plans["texts"].off == ("bank",)


def test_another_comparison_in_the_same_folder_has_another_teacher(tmp_path: Path) -> None:
    forget_other({"a": 1}, tmp_path)
    teacher, own = tmp_path / "teacher" / "model.safetensors", tmp_path / "mine.txt"
    teacher.parent.mkdir()
    for path in (teacher, own):
        path.touch()
    forget_other({"a": 1}, tmp_path)
    assert teacher.exists()
    forget_other({"a": 2}, tmp_path)
    assert own.exists()
    assert not teacher.exists()
