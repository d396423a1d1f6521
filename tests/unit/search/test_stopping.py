from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autockd.config.methods import AnnealingKD, ContinuationKD, HintonKD
from autockd.config.models import CifarResNet
from autockd.config.schema import StoppingConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.distillation import compile_plan
from autockd.search.stopping import compressed, judge, rung_epochs


def rule(**fields: Any) -> StoppingConfig:
    return StoppingConfig.model_validate({"rule": "fraction"} | fields)


@pytest.mark.parametrize(
    ("fields", "epochs", "rungs"),
    [
        ({}, 9, (1, 3)),
        ({}, 90, (10, 30)),
        ({}, 10, (1, 3)),
        ({}, 200, (22, 67)),
        ({"rungs": 1}, 90, (30,)),
        ({"reduction_factor": 2, "rungs": 3}, 80, (10, 20, 40)),
        ({}, 2, (1,)),
        ({}, 1, ()),
        ({"rule": "none"}, 90, ()),
        ({"rule": "ladder"}, 90, (10, 30)),
    ],
)
def test_rungs_stand_at_shares_of_the_run(fields: dict[str, Any], epochs: int, rungs: tuple[int, ...]) -> None:
    assert rung_epochs(rule(**fields), epochs) == rungs


@given(epochs=st.integers(1, 500), factor=st.integers(2, 9), rungs=st.integers(1, 4))
def test_rungs_rise_and_lie_inside_of_the_run(epochs: int, factor: int, rungs: int) -> None:
    found = rung_epochs(rule(reduction_factor=factor, rungs=rungs), epochs)
    assert list(found) == sorted(set(found))
    assert len(found) <= rungs
    assert all(1 <= rung < epochs for rung in found)
    # Those that fall together stand at the smallest shares, so the numbers of the others can be counted from the end.
    largest = [max(1, round(factor**-power * epochs)) for power in range(len(found), 0, -1)]
    assert list(found) == largest


def test_too_few_peers_judge_nobody() -> None:
    verdict = judge(0.0, [0.9, 0.9], rule(), "maximize")
    assert (verdict.stopped, verdict.threshold) == (False, None)
    assert judge(0.0, [0.9, 0.9, 0.9], rule(), "maximize").stopped


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_one_in_three_goes_on(direction: str, sign: int) -> None:
    peers = [sign * value for value in (1.0, 2.0, 3.0, 4.0)]
    assert judge(sign * 3.0, peers, rule(), direction).threshold == sign * 3.0
    assert not judge(sign * 3.0, peers, rule(), direction).stopped, "to reach it is enough"
    assert judge(sign * 2.9, peers, rule(), direction).stopped


@given(peers=st.lists(st.floats(0, 1), min_size=3, max_size=30), value=st.floats(0, 1), factor=st.integers(2, 5))
def test_the_best_is_never_stopped(peers: list[float], value: float, factor: int) -> None:
    settings = rule(reduction_factor=factor)
    assert not judge(max(peers), peers, settings, "maximize").stopped
    assert not judge(min(peers), peers, settings, "minimize").stopped
    assert judge(value, peers, settings, "maximize") == judge(value, sorted(peers), settings, "maximize")


def trial_of(method: Any) -> TrialConfig:
    return TrialConfig(method=method, training=TrainingConfig(epochs=30), student=CifarResNet(), seed=3)


@pytest.mark.parametrize("method", [ContinuationKD(smoothing_start=20), AnnealingKD(smoothing_start=10)])
def test_a_compressed_run_has_the_whole_schedule(method: Any) -> None:
    """Twenty values of phi do not fit into two epochs; the schedule does."""
    short = compressed(trial_of(method), 2)
    plan = compile_plan(short, 320, 1.0)
    phi = plan.column("smoothing")
    assert plan.run.epochs == 2
    assert phi[0] < 0.2
    assert max(phi) == 1.0
    full = compile_plan(trial_of(method), 320, 1.0)
    for share in (0.25, 0.5, 0.75):
        mine, whole = (run.column("learning_rate")[int(share * run.run.steps)] for run in (plan, full))
        assert mine == pytest.approx(whole)


@pytest.mark.parametrize(("shape", "found"), [("step", "linear"), ("cosine", "cosine"), ("exponential", "exponential")])
def test_only_a_staircase_is_climbed_in_another_way(shape: str, found: str) -> None:
    method = compressed(trial_of(ContinuationKD(smoothing_shape=shape)), 2).method  # type: ignore[arg-type]
    assert isinstance(method, ContinuationKD)
    assert (method.smoothing_shape, method.granularity) == (found, "step")


def test_what_is_no_schedule_stays() -> None:
    trial = trial_of(HintonKD(temperature=3))
    short = compressed(trial, 5)
    assert short.model_copy(update={"training": trial.training}) == trial
    assert short.training.model_copy(update={"epochs": 30}) == trial.training
