"""The search itself: Ray Tune runs what a study's book proposes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError

from autockd.errors import AutockdError
from autockd.folders import CHECKPOINT
from autockd.search.halt import Halt
from autockd.search.proposal import Book
from autockd.search.resources import Allocation
from autockd.search.searcher import AGAIN_AT_MOST, StudyScheduler, StudySearcher
from autockd.search.trainable import TrialTrainable
from autockd.search.watchdog import TRACE
from autockd.search.worker import BROKEN, WorkerSetting
from autockd.tracking.redaction import is_secret

LOST = "its worker ended without a result (killed, hung, out of memory, or its node was lost); no retry is left"

_TUNE = "ray"
"""Tune's own folder in a study's; nothing in it is needed afterwards."""


def run_search(
    book: Book,
    setting: WorkerSetting,
    task: Any,
    allocation: Allocation,
    halt: Halt,
    *,
    trials: int,
    retries: int,
) -> None:
    """Run trials until the book has no more to propose and all are closed, or until it has to stop.

    Args:
        book: proposes trials and takes their results.
        setting: what all trials share.
        task: where it is in Ray's object store, from which every worker takes it.
        allocation: what each trial gets.
        halt: says when to stop; what then runs has a checkpoint, and stays open in the book.
        trials: how many there will be.
        retries: how often a trial whose worker died starts again.
    """
    trainable = tune.with_parameters(TrialTrainable, setting=setting, task=task)
    drive(book, trainable, allocation.ray, setting.study, halt, trials=trials, retries=retries)
    for number in book.closed:
        (book.folder(setting.study, number) / CHECKPOINT).unlink(missing_ok=True)


def drive(
    book: Book, trainable: Any, share: Mapping[str, float], study: Path, halt: Halt, *, trials: int, retries: int
) -> None:
    """Let Tune run a trainable that reports as TrialTrainable does; the rest is as in `run_search`."""
    shutil.rmtree(study / _TUNE, ignore_errors=True)
    searcher = StudySearcher(book, lambda number: why_lost(book.folder(study, number)))
    tuner = tune.Tuner(
        tune.with_resources(trainable, dict(share)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(book, searcher),
            num_samples=(1 + AGAIN_AT_MOST) * trials,  # at most; the searcher says when it is finished
            reuse_actors=True,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=_TUNE,
            storage_path=str(study),
            verbose=0,
            stop=_StopAll(halt),
            failure_config=tune.FailureConfig(max_failures=retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # TrialWorker keeps its own
        ),
    )
    try:
        with ExitStack() as adapted:
            for module, name, value in _ADAPTED:
                adapted.enter_context(_adapting(module, name, value))
            tuner.fit()
    except Exception as error:
        if (own := _own(error)) is not None:
            raise own from error
        raise


def why_lost(folder: Path) -> str:
    """Why a trial of this folder ended without an outcome: what its worker left there says."""
    trace, broken = (folder / name for name in (TRACE, BROKEN))
    if broken.exists():
        said = broken.read_text(encoding="utf-8").strip().splitlines()[-1]
        return f"its GPU failed, and no retry is left: {said}; the whole of it is in {broken}"
    has_hung = trace.exists() and trace.stat().st_size > 0  # one that was killed leaves it behind empty
    return f"{LOST}; where it hung is in {trace}" if has_hung else LOST


def _own(error: BaseException | None) -> AutockdError | None:
    """The error of ours that Tune wrapped into its own."""
    while error is not None and not isinstance(error, AutockdError):
        error = error.__cause__ or error.__context__
    return error


LOSSES = (RayActorError, OutOfMemoryError)
"""What a lost worker's error is to Tune: also that of one which Ray ends because memory is short. By itself Tune would
end the search for that."""

_ADAPTED: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("ray.tune.execution.class_cache", "DEFAULT_ENV_VARS", lambda _: {}),
    ("ray.tune.execution.class_cache", "ENV_VARS_TO_PROPAGATE", lambda names: {n for n in names if not is_secret(n)}),
    ("ray.air.execution._internal.actor_manager", "RayActorError", lambda _: LOSSES),
    ("ray.tune.execution.tune_controller", "RayActorError", lambda _: LOSSES),
)
"""What is another for Tune while it runs trials: modules, names in them, and what they become.

Trials run in the environment that Ray starts its workers in: Tune would change it by a variable that Lightning reads,
and Ray then starts other workers than those that have imported everything ahead; and by the driver's AWS keys, which
Ray writes into logs that anybody may read.
"""


@contextmanager
def _adapting(module: str, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Change a name of a module for a while; these are no part of Ray's interface, and another version may lack it."""
    try:
        place = import_module(module)
        before = getattr(place, name)
    except (ImportError, AttributeError):
        yield
        return
    setattr(place, name, change(before))
    try:
        yield
    finally:
        setattr(place, name, before)


class _StopAll(tune.Stopper):  # type: ignore[misc]
    """Stops all of Tune's trials at once, or none."""

    def __init__(self, halt: Halt) -> None:
        self._halt: Halt | None = halt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._halt is not None and self._halt.ends_search

    def __getstate__(self) -> dict[str, Any]:
        return {"_halt": None}


def _trial_name(trial: Any) -> str:
    return f"{trial.config['number']:04d}"
