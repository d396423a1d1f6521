"""The driver dies, again and again, at moments that were chosen and at moments that were not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from battered import AtEvent, Battered, Damage, Moment, corrupt_checkpoints, stale_lock, torn
from conftest import Begin
from invariant import check_invariant, check_mlflow, mlflow_runs, running, same
from moments import DAMAGES, FINAL, SEARCH, START, STOPPED, plan
from tiny import Story

from autockd.tracking import events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

KILLS = int(os.environ.get("AUTOCKD_FAULT_KILLS", "0"))
"""Further kills, half of them at random moments."""

PER_STUDY = 6

FRACTION: list[tuple[Moment, tuple[Damage, ...]]] = [
    (START["between ledger and MLflow, at the start"], (torn,)),
    (SEARCH["inside tell"], (stale_lock,)),
    (SEARCH["between ledger and MLflow, a result"], ()),
    (STOPPED, (torn,)),
    (FINAL["after the test split is opened"], ()),
    (FINAL["with a bundle that is not recorded"], ()),
    (FINAL["while the bundle is replaced"], ()),
]
NONE: list[tuple[Moment, tuple[Damage, ...]]] = [
    (SEARCH["before a checkpoint takes its place"], (corrupt_checkpoints,)),
    (AtEvent("epoch_finished", count=2), (torn, stale_lock)),
    (SEARCH["while the book is restored"], ()),
    (FINAL["between Exported and StudyFinished"], ()),
]


def check_end(study: Battered, expected: Story) -> None:
    """The invariant, and MLflow after `sync`, twice."""
    check_invariant(study.folder, study.seen, expected)
    told = events(study.folder / "ledger.jsonl")
    uri = f"sqlite:///{study.folder.parent / 'mlflow.db'}"
    looks = []
    for _ in range(2):
        synced = study.command("sync")
        assert synced.wait() == 0, synced.stderr
        looks.append({key: run for key, run in mlflow_runs(uri, "digits").items() if is_of(run, study.name)})
    check_mlflow(looks[0], told)
    assert not same(*looks), "a second sync changed something"
    study.figures.running += running(told, looks[1])
    assert running(told, looks[1]) == 0


def is_of(run: dict[str, dict[str, str]], study: str) -> bool:
    tags = run["tags"]
    return tags.get("autockd.study") == study or tags.get("autockd.trial_key", "").startswith(f"{study}/")


@pytest.mark.parametrize(("rule", "moments"), [("fraction", FRACTION), ("none", NONE)])
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
