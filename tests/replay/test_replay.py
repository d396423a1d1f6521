"""Searches replayed on recorded trials: that the record is sound, and that replays are what they claim to be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from harness.comparison import result, search
from harness.contestants import Ours, RayDefault
from harness.curves import DATA, Curves, Lots

from autockd.records import RungReached, TrialFinished

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmark_stopping import COSTS, WORKERS, study

pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Argument ``multivariate``"
)


@pytest.fixture(scope="module")
def curves() -> Curves:
    return Curves.load()


def test_the_record_holds_whole_and_compressed_runs_of_hundreds_of_points(curves: Curves) -> None:
    assert DATA.stat().st_size < 2_000_000
    assert curves.sampled.sum() == 512
    assert {role for role in curves.roles if role != "sampled"} == {"baseline", "default"}
    assert set(curves.accuracy) == {1, 3, 9}
    for length, found in curves.accuracy.items():
        assert found.shape == (3, 514, length)
        assert ((found >= 0) & (found <= 1)).all()
    assert {"loss", "hard_loss", "soft_loss", "active_fraction", "seconds"} <= set(curves.other[9])
    assert np.isfinite(curves.other[9]["hard_loss"]).mean() > 0.95
    assert curves.final.std() > 0.01, "points differ"


def test_no_run_is_given_twice(curves: Curves) -> None:
    lots = Lots(curves)
    point = curves.params[int(np.flatnonzero(curves.sampled)[7])]
    drawn = [lots.draw(point) for _ in range(20)]
    assert drawn[0] == int(np.flatnonzero(curves.sampled)[7]), "the nearest is the point itself"
    assert len(set(drawn)) == 20


@pytest.mark.parametrize("rule", ["fraction", "ladder"])
def test_a_rule_stops_trials_by_their_rank_among_at_least_three_others(curves: Curves, rule: str) -> None:
    ours = Ours(study(f"search.stopping.rule={rule}"))
    search(ours, curves, seed=1, workers=WORKERS, costs=COSTS[:2])
    reached = [event for event in ours.events if isinstance(event, RungReached)]
    stopped = [event for event in reached if event.stopped]
    assert stopped
    assert {event.epochs for event in reached} == {1, 3}
    assert all(event.peers >= 3 for event in stopped)
    assert all(event.threshold is not None and event.value < event.threshold for event in stopped)
    pruned = {event.trial for event in ours.events if isinstance(event, TrialFinished) and event.state == "pruned"}
    assert pruned == {event.trial for event in stopped}


def test_a_replay_is_a_function_of_its_seed(curves: Curves) -> None:
    def found(seed: int) -> list[int]:
        return search(Ours(study("search.stopping.rule=ladder")), curves, seed, WORKERS, COSTS[:2]).points

    assert found(5) == found(5)
    assert found(5) != found(6)


def test_equal_cost_buys_more_trials_where_trials_are_stopped(curves: Curves) -> None:
    whole = search(Ours(study("search.stopping.rule=none")), curves, 0, WORKERS, COSTS[:2])
    ladder = search(Ours(study("search.stopping.rule=ladder")), curves, 0, WORKERS, COSTS[:2])
    assert (whole.trials, whole.whole) == (12, 12), "twelve whole runs are what twelve cost"
    assert ladder.trials > whole.trials > ladder.whole


def test_the_default_search_is_no_worse_than_random_and_better_than_asha(curves: Curves) -> None:
    """With margins that a few seeds allow; scripts/benchmark_stopping.py has the figures."""
    sides = {"default": Ours(study()), "random": Ours(study("search.sampler=random")), "asha": RayDefault()}
    regret = {
        name: result(curves, [search(side, curves, seed, WORKERS, COSTS[:3]) for seed in range(8)]).shown[:, -1].mean()
        for name, side in sides.items()
    }
    assert regret["default"] < regret["asha"]
    assert regret["default"] < 1.3 * regret["random"]
