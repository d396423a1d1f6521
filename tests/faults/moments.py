"""Where a study can be hit: by name, by stage, and at random."""

from __future__ import annotations

import random

from battered import AtCall, AtEvent, Damage, Moment, corrupt_checkpoints, stale_lock, torn
from crashes import Crash

_APPEND, _SUBMIT = "autockd.tracking.ledger:Ledger.append", "autockd.tracking.mlflow_sink:MlflowSink.submit"
_SET_STATE = "optuna.storages.journal._storage:JournalStorage.set_trial_state_values"
_JOURNAL = "optuna.storages.journal._file:JournalFileSymlinkLock.release"

START: dict[str, Moment] = {
    "before the study's start is recorded": AtCall(Crash(_APPEND, match=("StudyStarted(",))),
    "between ledger and MLflow, at the start": AtCall(Crash(_SUBMIT, match=("StudyStarted(",))),
    "with a teacher that is not recorded": AtCall(Crash(_APPEND, match=("TeacherReady(",))),
    "while the bank is filled": AtCall(Crash("autockd.training.bank:TeacherBank.fill", victim="all"), in_worker=True),
    "with an empty journal": AtCall(Crash("autockd.search.book:new_optuna_study", "after")),
}
SEARCH: dict[str, Moment] = {
    "before tell": AtCall(Crash("autockd.search.book:tell")),
    "after tell": AtCall(Crash("autockd.search.book:tell", "after", nth=2)),
    "inside tell": AtCall(Crash(_SET_STATE, "after", match=("TrialState.COMPLETE",))),
    "with the journal locked": AtCall(Crash(_JOURNAL, nth=9)),
    "between ledger and MLflow, a result": AtCall(Crash(_SUBMIT, match=("TrialFinished(",), nth=2)),
    "between ledger and MLflow, an epoch": AtCall(Crash(_SUBMIT, match=("EpochFinished(",), nth=3)),
    "while MLflow writes": AtCall(Crash("autockd.tracking.mlflow_store:MlflowStore.write", "after", nth=3)),
    "before a result is written": AtCall(Crash("autockd.tracking.ledger:Ledger._write", match=("trial_finished",))),
    "after a proposal": AtCall(Crash(_APPEND, "after", match=("TrialStarted(",), nth=2)),
    "before a checkpoint takes its place": AtCall(
        Crash("pathlib:Path.replace", match=("checkpoint.pt",), nth=2, victim="all"), in_worker=True
    ),
    "after a checkpoint took its place": AtCall(
        Crash("pathlib:Path.replace", "after", match=("checkpoint.pt",), victim="all"), in_worker=True
    ),
    "with weights and no result": AtCall(
        Crash("autockd.search.worker:save_weights", "after", victim="all"), in_worker=True
    ),
    "with a result that was not told": AtCall(
        Crash("autockd.search.worker:TrialWorker.advance", "after", nth=2, victim="all"), in_worker=True
    ),
    "while the book is restored": AtCall(Crash("autockd.search.book:StudyBook._restart", "after", nth=2)),
}
STOPPED: Moment = AtCall(Crash(_APPEND, "after", match=("RungReached(", "stopped=True")))
"""Between the verdict on a trial and its end: for studies that stop trials, before they have stopped the first."""
FINAL: dict[str, Moment] = {
    "before the test split is opened": AtCall(Crash(_APPEND, match=("TestOpened(",))),
    "after the test split is opened": AtCall(Crash(_APPEND, "after", match=("TestOpened(",))),
    "while models are evaluated": AtCall(Crash("autockd.search.stages:score", victim="all"), in_worker=True),
    "between two evaluations": AtCall(Crash(_APPEND, match=("Evaluated(",), nth=2)),
    "while the bundle is written": AtCall(Crash("autockd.export.bundle:write_manifest")),
    "before the bundle takes its place": AtCall(Crash("pathlib:Path.rename", match=("bundle",))),
    "with a bundle that is not recorded": AtCall(Crash(_APPEND, match=("Exported(",))),
    "while the bundle is replaced": AtCall(Crash("pathlib:Path.rename", "after", match=("bundle", ".old"))),
    "between Exported and StudyFinished": AtCall(Crash(_APPEND, match=("StudyFinished(",))),
    "while the report is written": AtCall(Crash("autockd.report.writing:page_of")),
}
"""Each group in the order in which its moments come."""

_AIMED = {"start": START, "search": SEARCH, "final": FINAL}
_RANDOM = {
    "start": [("", 8.0), ("study_started", 4.0), ("teacher_ready", 5.0), ("bank_ready", 6.0)],
    "search": [("trial_started", 1.0), ("epoch_finished", 0.3), ("trial_finished", 0.3)],
    "final": [("test_opened", 4.0), ("evaluated", 1.0), ("exported", 0.3), ("", 12.0)],
}
"""After which events, and how many seconds at most."""

DAMAGES: tuple[tuple[Damage, ...], ...] = ((), (), (torn,), (stale_lock,), (corrupt_checkpoints,))


def plan(dice: random.Random, kills: int) -> list[tuple[str, Moment]]:
    """Named moments for one study, in an order in which they can come: half of them aimed, half at random."""
    moments: list[tuple[str, Moment]] = []
    shares = {"start": kills // 4, "final": (kills + 1) // 3}
    shares["search"] = kills - sum(shares.values())
    for stage in ("start", "search", "final"):
        aimed = dice.sample(sorted(_AIMED[stage]), k=shares[stage] // 2 + dice.randrange(1 + shares[stage] % 2))
        chosen = [(name, _AIMED[stage][name]) for name in _AIMED[stage] if name in aimed]
        moments += chosen + [_at_random(dice, stage) for _ in range(shares[stage] - len(chosen))]
    return moments


def _at_random(dice: random.Random, stage: str) -> tuple[str, Moment]:
    kind, longest = dice.choice(_RANDOM[stage])
    count = dice.randint(1, 5) if stage == "search" else 1
    moment = AtEvent(kind, count, dice.uniform(0, longest))
    return f"at random: {moment.delay:.2f} s after {moment.count} {kind or 'starts'}", moment
