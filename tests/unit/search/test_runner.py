"""Why a trial ended without an outcome, as far as its folder tells."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import tune
from ray.air.execution._internal import actor_manager
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayError
from ray.tune.execution import class_cache, tune_controller

from autockd.search.finalists import FinalistBook
from autockd.search.halt import Halt
from autockd.search.runner import _ADAPTED, LOSSES, LOST, _adapting, drive, why_lost
from autockd.search.watchdog import TRACE
from autockd.search.worker import BROKEN


def test_what_a_lost_worker_left_says_why(tmp_path: Path) -> None:
    assert why_lost(tmp_path) == LOST
    (tmp_path / TRACE).touch()
    assert why_lost(tmp_path) == LOST, "a worker that was killed leaves it empty"
    (tmp_path / TRACE).write_text("in stuck")
    assert why_lost(tmp_path) == f"{LOST}; where it hung is in {tmp_path / TRACE}"
    (tmp_path / BROKEN).write_text("Traceback\nCUDA error: x\n")
    assert why_lost(tmp_path).startswith("its GPU failed, and no retry is left: CUDA error: x;")


class Manager(actor_manager.RayActorManager):
    """Tune's own, of one worker that is no process."""

    def __init__(self) -> None:
        self._failed_actor_ids = set()

    def _cleanup_actor(self, tracked_actor: object) -> None:
        pass


@pytest.mark.parametrize("error", [ActorDiedError(), OutOfMemoryError("the node is running low on memory")])
def test_a_worker_that_memory_is_taken_from_is_lost_like_any_other(error: RayError) -> None:
    told: list[object] = []
    actor = SimpleNamespace(actor_id=1, _on_error=lambda _, error: told.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda _, error: told.append(error))
    with _adapting(actor_manager.__name__, "RayActorError", lambda _: LOSSES):
        Manager()._actor_task_failed(task, error)
    assert told == [error, error]
    assert actor_manager.RayActorError is RayActorError, "as it was"


@pytest.mark.parametrize(("module", "name"), [("ray.tune.execution.gone", "X"), (tune_controller.__name__, "Gone")])
def test_what_another_version_of_ray_lacks_is_left_out(module: str, name: str) -> None:
    with _adapting(module, name, lambda _: None):
        assert not hasattr(tune_controller, "Gone")


def test_this_version_of_ray_has_all_that_is_changed_in_it() -> None:
    assert [name for module, name, _ in _ADAPTED if not hasattr(import_module(module), name)] == []


def test_while_tune_runs_it_is_adapted_and_afterwards_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> tuple[object, ...]:
        losses = (module.RayActorError for module in (actor_manager, tune_controller))
        return (*losses, class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE)

    class Tuner:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def fit(self) -> None:
            seen.append(names())

    seen: list[tuple[object, ...]] = []
    monkeypatch.setattr("autockd.search.runner.tune.Tuner", Tuner)
    before = names()
    drive(
        FinalistBook([], (), print, parallel=1),
        tune.Trainable,
        {"cpu": 1},
        tmp_path,
        Halt(tmp_path),
        trials=1,
        retries=0,
    )
    (((one, other, variables, propagated)),) = seen
    assert one == other == LOSSES
    assert variables == {}
    assert not any("SECRET" in name for name in propagated)
    assert names() == before
