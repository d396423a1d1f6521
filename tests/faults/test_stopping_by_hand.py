"""Ctrl-C once and twice, SIGTERM, two drivers, a full disk, and going on under other settings."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable

import pytest
from battered import Begin
from ending import check_end
from invariant import check_invariant, of
from long_run import only_in_the_long_run
from nursery import PATIENCE, Nursery, wait_until
from tiny import Story

from autockd.records import TestOpened
from autockd.tracking import events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900 * PATIENCE),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

AGENTS = ("ray::RuntimeEnvAgent", "ray::DashboardAgent")
"""Ray's own helpers, which notice within a minute that their raylet is no more. They hold nothing and do nothing."""


def workers(nursery: Nursery) -> list[str]:
    return [name for name in nursery.processes().values() if not name.startswith(AGENTS)]


@only_in_the_long_run
def test_a_study_is_stopped_by_hand_in_every_way_and_then_ends_as_if_it_had_not(
    begin: Begin, nursery: Nursery, undisturbed: Callable[..., Story]
) -> None:
    many = "search.trials=40"  # or none is left for the last way, where commands take long
    study = begin("by-hand", many)
    for number, kind, count in ((signal.SIGINT, "epoch_finished", 1), (signal.SIGTERM, "trial_finished", 2)):
        command = study.go()
        study.wait_for(kind, study.count(kind) + count, command)
        command.signal(number)
        assert command.wait() == 130, command.stderr
        assert f"autockd resume {study.name}" in command.stderr
        assert wait_until(lambda: not workers(nursery), 20.0 * PATIENCE), workers(nursery)
        study.look()

    command = study.go()
    study.wait_for("trial_finished", study.count("trial_finished") + 1, command)
    other = study.command("resume")
    assert other.wait() == 2, "a second driver is refused"
    assert "is in use by" in other.stderr, other.stderr
    asked = study.command("stop")
    assert asked.wait() == 0, asked.stderr
    assert command.wait() == 130, command.stderr
    study.look()

    command = study.go()
    study.wait_for("trial_finished", study.count("trial_finished") + 1, command)
    began = time.monotonic()
    command.signal(signal.SIGINT)
    time.sleep(0.3)
    command.signal(signal.SIGINT)
    assert command.wait() == 130
    assert time.monotonic() - began < 5.0 * PATIENCE, "twice is at once"
    nursery.clear(5.0)
    study.look()

    for override, changed in (
        ("search.space.learning_rate.high=0.4", "search.space"),
        ("task.limit_train=200", "task"),
        ("teacher.training.epochs=3", "teacher"),
    ):
        before = study.ledger
        refused = nursery.start("resume", study.name, override, "--studies", study.folder.parent)
        assert refused.wait() == 2, refused.stderr
        assert changed in refused.stderr
        assert study.ledger == before
    study.finish()
    check_end(study, undisturbed(many))


@only_in_the_long_run
def test_a_full_disk_ends_a_study_that_then_goes_on(begin: Begin, undisturbed: Callable[..., Story]) -> None:
    """The disk is full as far as the driver can tell: its files may not grow beyond what the ledger has."""
    study = begin("full", "tracking.enabled=false", "search.stopping.rule=none")
    command = study.go()
    study.wait_for("trial_finished", 2, command)
    limit = len(study.ledger) + 600
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (limit, limit))
    assert command.wait() == 3, command.stderr
    assert "ledger" in command.stderr
    study.look()
    study.nursery.clear(10.0)
    study.finish()
    check_invariant(study.folder, study.seen, undisturbed("tracking.enabled=false", "search.stopping.rule=none"))


@only_in_the_long_run
def test_a_full_disk_of_the_workers_ends_a_study_too(
    nursery: Nursery, begin: Begin, undisturbed: Callable[..., Story]
) -> None:
    """They cannot keep a student, so no trial can end; none is called a failure."""
    changes = ("tracking.enabled=false", "search.stopping.rule=none")
    study = begin("full-workers", *changes)
    command = study.go()
    study.wait_for("trial_finished", 1, command)
    wait_until(lambda: bool(nursery.training()), 5.0 * PATIENCE)
    for pid in nursery.training():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, 512))
    assert command.wait() == 3, command.stderr
    assert "cannot write" in command.stderr
    study.look()
    study.nursery.clear(10.0)
    study.finish()
    check_invariant(study.folder, study.seen, undisturbed(*changes))


@only_in_the_long_run
def test_a_finished_study_is_closed_for_more_trials(begin: Begin) -> None:
    """Its test split is open: nobody chooses trials who has seen it."""
    study = begin("closed", "search.trials=4", "tracking.enabled=false")
    study.finish()
    assert len(of(TestOpened, events(study.folder / "ledger.jsonl"))) == 1
    more = study.command("resume", "--trials", "8")
    assert more.wait() == 2, more.stderr
    assert "opened its test split" in more.stderr
