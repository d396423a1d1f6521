"""What is done once the search is over: finalists run again, the test split is opened, once, and all are scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from autockd.config.models import ModelConfig
from autockd.config.trial import TrialConfig
from autockd.data import HeldOut, Task
from autockd.errors import StudyError
from autockd.exporting import require_weights, row_to_export
from autockd.folders import LEDGER
from autockd.history import History
from autockd.records import Evaluated, FinalistsChosen, TestOpened, TrialStarted
from autockd.report.finalists import finalist_trials
from autockd.report.picking import barred_trials
from autockd.search.cluster import Cluster
from autockd.search.finalists import FinalistBook, fresh_seeds
from autockd.search.stages import Subject, score
from autockd.search.worker import WorkerSetting
from autockd.session import Session
from autockd.summary import StudySummary, best_of_arms
from autockd.tracking import events
from autockd.training.networks import based_on
from autockd.training.teacher import TeacherSpec
from autockd.verdicts import finalists_of, winner_of


def run_finalists(session: Session, task: Task, setting: WorkerSetting, machine: Cluster) -> bool:
    """Run the finalists with their fresh seeds, what is left of it; the time of the search does not count here.

    Returns:
        Whether all of them are over; otherwise somebody stopped the study.
    """
    if session.history.test_opened is not None:
        return True
    chosen = _choose(session)
    if chosen is None or not chosen.seeds:
        return True
    told = events(session.folder / LEDGER)
    starts, parallel = History(told).starts, machine.allocation.parallel
    finalists = [starts[trial] for trial in chosen.trials]
    book = FinalistBook(finalists, chosen.seeds, session.recorder.record, parallel=parallel, history=told)
    retries = session.config.resources.max_failures
    if not book.is_over:
        with session.recorder.stage("finalists"), session.halt.search(None):
            machine.search(book, replace(setting, traced=None), task, session.halt, trials=book.left, retries=retries)
    if book.is_over:
        _choose(session)  # by these runs it is known whether a trial that was stopped early may win
    return book.is_over


def _choose(session: Session) -> FinalistsChosen | None:
    """Who runs again, written down unless it is what was written last; None where nobody ever was to."""
    summary, wanted = session.summary, session.config.finalists
    known = summary.chosen
    unfit = barred_trials(summary, session.config.export.pick)
    trials = finalist_trials(summary, wanted.top, unfit) if wanted.seeds else ()
    seeds = fresh_seeds(session.config.seed, wanted.seeds)
    barred = tuple(trial for trial in trials if trial in unfit)
    before = ((), (), ()) if known is None else (known.trials, known.seeds, known.barred)
    if before == (trials, seeds, barred):
        return known
    chosen = FinalistsChosen(time=time.time(), trials=trials, seeds=seeds, barred=barred)
    session.recorder.record(chosen)
    return chosen


def evaluate_finals(session: Session, task: Task, held_out: HeldOut, teacher: TeacherSpec, machine: Cluster) -> None:
    """Open the test split, once, for the teacher and the finalists; go on where that was cut off.

    Without finalists it is opened for the search's own students: the baselines, the best of each compared method, and
    the best.

    Raises:
        StudyError: the weights of one of them are gone, or the test split is not the one that was opened.
    """
    recorder, history = session.recorder, session.history
    summary, starts = session.summary, History(events(session.folder / LEDGER)).starts
    known = teacher.record.metric
    taught = Subject("teacher", None, teacher.config.model, teacher.weights, validation=known, kind="teacher")
    subjects = [taught, *_finalists(session, summary, starts, teacher)]
    if len(subjects) == 1:
        if session.config.finalists.seeds and history.test_opened is None:
            recorder.warn("no finalist came through with any fresh seed: the search's own students are tested instead")
        subjects += _searched(session, summary, starts, teacher)
    labels = tuple(subject.label for subject in subjects)
    subjects = [subject for subject in subjects if subject.label not in history.evaluated]
    if history.test_opened is None:
        session.halt.check()  # it may have come with the last results
    for subject in subjects:
        require_weights(subject.weights, subject.trial, subject.seed)  # or the split would be open for nothing
    if history.test_opened is None:
        recorder.record(TestOpened(time=time.time(), subjects=labels, test_fingerprint=held_out.fingerprint))
    if not subjects:
        return
    _require_same(history.test_opened, held_out, session.config.name)
    scores = machine.call(score, subjects, taught, task, held_out, machine.allocation.device, machine.whole_cpus)
    for subject, found in zip(subjects, scores, strict=True):
        recorder.record(
            Evaluated.model_validate(
                {
                    "time": time.time(),
                    "subject": subject.kind,
                    "label": subject.label,
                    "trial": subject.trial,
                    "seed": subject.seed,
                    **vars(found),
                }
            )
        )


def _require_same(opened: TestOpened | None, held_out: HeldOut, study: str) -> None:
    """That the test split is the one which some of the models may have been scored on already."""
    if opened is not None and opened.test_fingerprint not in ("", held_out.fingerprint):
        raise StudyError(
            f"{study} cannot go on: its test split has changed since it was opened. Its fingerprint was "
            f"{opened.test_fingerprint[:12]}, now it is {held_out.fingerprint[:12]}; put the data back"
        )


def _finalists(
    session: Session, summary: StudySummary, starts: Mapping[int, TrialStarted], teacher: TeacherSpec
) -> list[Subject]:
    """The runs of finalists that have a student; none where no trial but baselines has any."""
    chosen = summary.chosen
    finalists = finalists_of(summary)
    if not session.config.finalists.seeds or chosen is None or winner_of(finalists, summary.direction) is None:
        return []
    weights = {(run.trial, run.seed): run.weights for run in summary.finalists if run.weights is not None}
    return [
        Subject(
            f"trial {finalist.trial}, seed {seed}",
            finalist.trial,
            _student(starts[finalist.trial], teacher),
            session.folder / weights[finalist.trial, seed],
            seed,
            kind="finalist",
        )
        for finalist in finalists
        for seed in finalist.seeds
        if (finalist.trial, seed) in weights
    ]


def _searched(
    session: Session, summary: StudySummary, starts: Mapping[int, TrialStarted], teacher: TeacherSpec
) -> list[Subject]:
    """The search's own students: of the baselines, the best of each compared method, the best, and the picked one."""
    picked, _ = row_to_export(summary, session.config.export.pick)
    chosen = {row.trial: label for row, label in ((picked, "picked"), (summary.best, "best")) if row is not None}
    labels = {row.trial: arm for arm, row in best_of_arms(summary).items()} | chosen
    subjects: list[Subject] = []
    for row in summary.trials:
        if row.weights is None or not (row.role == "baseline" or row.trial in labels):
            continue
        label = labels.get(row.trial, row.method)
        if any(subject.label == label for subject in subjects):
            label = f"{label} {row.trial}"
        model, weights = _student(starts[row.trial], teacher), session.folder / row.weights
        subjects.append(Subject(label, row.trial, model, weights, kind="best" if row.trial in chosen else "baseline"))
    return subjects


def _student(start: TrialStarted, teacher: TeacherSpec) -> ModelConfig:
    return based_on(TrialConfig.model_validate(start.config).student, teacher.folder)
