"""The stages of a study, in order: data, teacher, bank, search, final evaluation, export."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from autockd.config.saving import save_study
from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig
from autockd.data import HeldOut, Task, load_task
from autockd.errors import Interrupted, NoTrialSucceeded
from autockd.exporting import BUNDLE, LEDGER, check_models, check_plans, export_trial
from autockd.folders import studies_folder
from autockd.hashing import content_hash
from autockd.history import check_goes_on
from autockd.preparing import prepare
from autockd.provenance import provenance
from autockd.records import (
    Evaluated,
    Event,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TestOpened,
    TrialStarted,
)
from autockd.report import StudySummary
from autockd.report.accounting import bound_of, time_split
from autockd.search.book import StudyBook
from autockd.search.cluster import Cluster, cluster
from autockd.search.stages import Subject, score
from autockd.search.worker import WorkerSetting
from autockd.session import CONFIG, Session, open_session
from autockd.tracking import events, save_figures
from autockd.training.networks import based_on
from autockd.training.teacher import TeacherSpec

JOURNAL = "optuna.journal"


def run_study(
    config: StudyConfig,
    folder: Path,
    watch: Callable[[Event], None],
    *,
    uri: str | None,
    experiment: str,
    resume: bool = False,
) -> StudySummary:
    """Run a study from its data to its bundle, or what is left of it; see `Study.run` and `Study.resume`."""
    began = time.perf_counter()
    with open_session(config, folder, watch, uri, experiment, resume=resume) as session:
        history = session.history
        if history.is_finished and not history.asked_for_more(config):
            return _result(session)
        try:
            with session.halt.listening():
                task = _run_stages(session)
                return _finish(session, task, began)
        except KeyboardInterrupt:
            raise _interrupted(folder) from None


def _run_stages(session: Session) -> Task:
    """Everything up to the final evaluation, which alone is given the test split."""
    recorder = session.recorder
    with recorder.stage("data"):
        task, held_out = load_task(session.config.task)
        _begin(session, task)
    with ExitStack() as stack:
        with recorder.stage("start"):
            machine = stack.enter_context(cluster(session.config.resources, session.folder))
        machine.meanwhile = session.halt.check
        session.halt.listen_again()
        recorder.choice(machine.allocation.reason)
        setting = prepare(session, task, machine)
        with recorder.stage("search"):
            _search(session, task, setting, machine)
        if session.summary.best_trial is not None:
            with recorder.stage("evaluate"):
                _evaluate(session, task, held_out, setting.teacher, machine)
    return task


def _begin(session: Session, task: Task) -> None:
    """Record the start of the study, or that it goes on and may."""
    data = json.loads(session.config.model_dump_json())
    if session.history:
        changes = check_goes_on(session.history, session.config, task.fingerprint)
        event: Event = StudyResumed(time=time.time(), config=data, changes=changes, provenance=provenance(Path.cwd()))
        if changes:
            save_study(session.config, session.folder / CONFIG)
    else:
        check_plans(session.config, task)
        check_models(session.config, task)
        event = StudyStarted(
            time=time.time(),
            study=session.config.name,
            config=data,
            config_hash=content_hash(data),
            metric=task.metric,
            direction=task.direction,
            task_fingerprint=task.fingerprint,
            provenance=provenance(Path.cwd()),
        )
    session.recorder.record(event)


def _search(session: Session, task: Task, setting: WorkerSetting, machine: Cluster) -> None:
    """Run the trials that are left, for as long as there is time.

    Raises:
        Interrupted: somebody stopped it.
    """
    config, recorder, history, halt = session.config, session.recorder, session.history, session.halt
    search, parallel = config.search, machine.allocation.parallel
    journal = session.folder / JOURNAL
    book = StudyBook(
        config, journal, recorder.record, parallel=parallel, direction=task.direction, history=history.events
    )
    if history.test_opened is not None:  # its time was over then, so it may have fewer trials than were asked for
        book.cut("the test split is open")
    left = None if search.time_budget is None else search.time_budget - history.search_seconds
    if not book.is_over:
        with halt.search(left):
            if not halt.is_out_of_time:
                machine.search(book, setting, task, halt, trials=book.left, retries=config.resources.max_failures)
    if book.is_over:
        return
    if halt.is_asked or not halt.is_out_of_time:
        raise _interrupted(session.folder)
    book.cut(f"the search's time is over ({search.time_budget:g} s)")
    recorder.choice(f"search.time_budget of {search.time_budget:g} s is used up after {len(book.closed)} trials")


def _interrupted(folder: Path) -> Interrupted:
    is_found_by_name = folder.parent == studies_folder().absolute()
    return Interrupted(
        f"{folder.name}: stopped; what is finished is kept, what was running goes on from its checkpoint\n"
        f"go on with: autockd resume {folder.name if is_found_by_name else folder}"
    )


def _evaluate(session: Session, task: Task, held_out: HeldOut, teacher: TeacherSpec, machine: Cluster) -> None:
    """Open the test split, once, for the teacher, the baselines and the best student; go on where that was cut off."""
    recorder, history = session.recorder, session.history
    subjects = _subjects(session, teacher)
    if history.test_opened is None:
        recorder.record(TestOpened(time=time.time(), subjects=tuple(subject.label for subject in subjects)))
    subjects = [subject for subject in subjects if subject.label not in history.evaluated]
    scores = machine.call(score, subjects, task, held_out, machine.allocation.device)
    for subject, found in zip(subjects, scores, strict=True):
        kind = subject.label if subject.label in ("teacher", "best") else "baseline"
        recorder.record(
            Evaluated.model_validate(
                {"time": time.time(), "subject": kind, "label": subject.label, "trial": subject.trial, **vars(found)}
            )
        )


def _subjects(session: Session, teacher: TeacherSpec) -> list[Subject]:
    summary = session.summary
    trials = {event.trial: event for event in events(session.folder / LEDGER) if isinstance(event, TrialStarted)}
    subjects = [Subject("teacher", None, teacher.config.model, teacher.weights)]
    for row in summary.trials:
        if row.weights is None or not (row.role == "baseline" or row.trial == summary.best_trial):
            continue
        label = "best" if row.trial == summary.best_trial else row.method
        if any(subject.label == label for subject in subjects):
            label = f"{label} {row.trial}"
        student = TrialConfig.model_validate(trials[row.trial].config).student
        subjects.append(Subject(label, row.trial, based_on(student, teacher.folder), session.folder / row.weights))
    return subjects


def _finish(session: Session, task: Task, began: float) -> StudySummary:
    """Export the best student, draw the search, close the study."""
    folder, recorder, summary = session.folder, session.recorder, session.summary
    best = summary.best
    if best is not None and session.history.exported is None:
        with recorder.stage("export"):
            # A bundle that stands there already was written just before a stop, or by hand before the search was over.
            onnx, stands = session.config.export.onnx, (folder / BUNDLE).exists()
            recorder.record(export_trial(session.config, folder, best, summary, task, onnx=onnx, force=stands))
    _sweep(folder)
    with recorder.stage("tracking"):
        for figure in save_figures(events(folder / LEDGER), folder):
            recorder.artifact(figure)
    seconds = {**recorder.seconds, "total": time.perf_counter() - began}
    recorder.record(
        StudyFinished(
            time=time.time(),
            complete=summary.count("complete"),
            pruned=summary.count("pruned"),
            failed=summary.count("failed"),
            best_trial=summary.best_trial,
            best_value=best.value if best else None,
            seconds=seconds,
            split=time_split(events(folder / LEDGER), seconds),
            bound=bound_of(events(folder / LEDGER), seconds["total"]),
        )
    )
    return _result(session)


def _sweep(folder: Path) -> None:
    """Remove what killed writers left behind, and the checkpoints of trials that are over."""
    for pattern in (f".{BUNDLE}.*", f".{CONFIG}.*", "teacher/.*", "trials/*/.*", "trials/*/checkpoint.pt"):
        for scrap in folder.glob(pattern):
            if scrap.is_dir():
                shutil.rmtree(scrap, ignore_errors=True)
            else:
                scrap.unlink(missing_ok=True)


def _result(session: Session) -> StudySummary:
    """What a finished study says.

    Raises:
        NoTrialSucceeded: none of its trials has a student.
    """
    summary = session.summary
    if summary.best is None:
        reasons = "; ".join(dict.fromkeys(row.reason.splitlines()[0] for row in summary.trials if row.reason))
        raise NoTrialSucceeded(f"none of {len(summary.trials)} trials succeeded: {reasons or 'only baselines ran'}")
    return summary
