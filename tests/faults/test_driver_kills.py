"""The driver dies, again and again, at moments that were chosen and at moments that were not; and so do workers.

One file, so that one process has it whole: teacher, nursery and what is expected are made once.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest
from battered import AtEvent, Begin, Damage, Moment, corrupt_checkpoints, stale_lock, torn
from ending import check_end
from long_run import only_in_the_long_run
from moments import DAMAGES, FINAL, SEARCH, START, STOPPED, plan
from nursery import PATIENCE, Nursery, wait_until
from tiny import Story

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200 * PATIENCE),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

KILLS = int(os.environ.get("AUTOCKD_FAULT_KILLS", "0"))
"""Further kills, half of them at random moments."""

WORKER_KILLS = int(os.environ.get("AUTOCKD_FAULT_WORKER_KILLS", "2"))
PER_STUDY = 6

FRACTION: list[tuple[Moment, tuple[Damage, ...]]] = [
    (START["between ledger and MLflow, at the start"], (torn,)),
    (SEARCH["before a checkpoint takes its place"], (corrupt_checkpoints, stale_lock)),
    (STOPPED, (torn,)),
    (FINAL["after the test split is opened"], ()),
    (FINAL["while the report is written"], ()),
]
NONE: list[tuple[Moment, tuple[Damage, ...]]] = [
    (SEARCH["inside tell"], (stale_lock,)),
    (SEARCH["between ledger and MLflow, a result"], ()),
    (AtEvent("epoch_finished", count=2), (torn,)),
    (SEARCH["while the book is restored"], ()),
    (FINAL["with a bundle that is not recorded"], ()),
    (FINAL["while the bundle is replaced"], ()),  # which the one before has left
    (FINAL["between Exported and StudyFinished"], ()),
    (FINAL["while the report is written"], ()),
]


@pytest.mark.parametrize(
    ("rule", "moments"), [("fraction", FRACTION), pytest.param("none", NONE, marks=only_in_the_long_run)]
)
def test_a_study_survives_every_aimed_kill(
    rule: str, moments: list[tuple[Moment, tuple[Damage, ...]]], begin: Begin, undisturbed: Callable[..., Story]
) -> None:
    override = f"search.stopping.rule={rule}"
    expected = undisturbed(override)
    study = begin(f"aimed-{rule}", override)
    for place, (moment, damage) in enumerate(moments):
        assert study.die(moment, damage, patience=0.0 if place % 2 else None), f"{moment} never came"
    study.finish()
    check_end(study, expected)


@pytest.mark.parametrize("number", range(-(-KILLS // PER_STUDY)))
def test_a_study_survives_kills_at_random(number: int, begin: Begin, undisturbed: Callable[..., Story]) -> None:
    dice = random.Random(number)
    override = f"search.stopping.rule={('fraction', 'none', 'ladder')[number % 3]}"
    expected = undisturbed(override)
    study = begin(f"random-{number}", override)
    kills = min(PER_STUDY, KILLS - number * PER_STUDY)
    for name, moment in plan(dice, kills):
        print(name)
        patience = dice.choice([None, 0.0])
        if not study.die(moment, dice.choice(DAMAGES), patience=patience):
            print("it never came")
            if study.count("study_finished"):
                break
    study.finish()
    check_end(study, expected)


def test_lost_workers_cost_no_trial(begin: Begin, nursery: Nursery, undisturbed: Callable[..., Story]) -> None:
    killed, number = 0, 0
    while killed < WORKER_KILLS:
        study = begin(f"workers-{number}", f"resources.max_failures={WORKER_KILLS}")
        command = study.go()
        for _ in range(min(4, WORKER_KILLS - killed)):
            if not study.wait_for("trial_finished", study.count("trial_finished") + 1, command):
                break
            wait_until(lambda: bool(nursery.training()), 5.0 * PATIENCE)
            for pid in nursery.training()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
                study.figures.worker_kills += 1
        assert command.wait(240.0) == 0, command.stderr
        check_end(study, undisturbed(f"resources.max_failures={WORKER_KILLS}"))
        number += 1
