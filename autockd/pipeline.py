"""The stages of a study, in order: data, teacher, bank, search, finalists, final evaluation, export."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from autockd.checking import check_models, check_pick, check_plans, check_tracking, overlaps_told
from autockd.config.arms import Arm, arms_of
from autockd.config.budget import check_budget
from autockd.config.saving import save_study
from autockd.config.schema import StudyConfig
from autockd.config.space import space_text
from autockd.data import HeldOut, Task, TextTask, load_task
from autockd.errors import ExportError, Interrupted, NoTrialSucceeded
from autockd.exporting import export_trial, row_to_export, winner
from autockd.folders import BUNDLE, CHECKPOINT, CONFIG, LEDGER, REPORT, is_draft, study_argument
from autockd.hashing import content_hash
from autockd.history import History, check_changes, check_goes_on, moves, seconds_told, with_moves
from autockd.judging import evaluate_finals, run_finalists
from autockd.preparing import prepare
from autockd.provenance import provenance
from autockd.records import Event, Exported, StudyFinished, StudyResumed, StudyStarted
from autockd.report.accounting import bound_of, time_split
from autockd.report.writing import PAGE, shown_of, write_report
from autockd.search.book import StudyBook
from autockd.search.cluster import Cluster, check_fits, cluster
from autockd.search.proposals import say_informed
from autockd.search.shares import Shares
from autockd.search.worker import WorkerSetting
from autockd.session import Session, open_session
from autockd.summary import StudySummary
from autockd.surroundings import plain_tensors, restoring
from autockd.text import plural
from autockd.tracking import events
from autockd.tracking.mlflow_store import MLFLOW_ENVIRONMENT

_OUT_OF_TIME = "the search's time is over"


def journal_name(arm: str = "") -> str:
    """Name of Optuna's journal in a study's folder; each compared method has its own."""
    return f"optuna.{arm}.journal" if arm else "optuna.journal"


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
    try:
        with (
            restoring(MLFLOW_ENVIRONMENT),
            plain_tensors(),
            open_session(config, folder, watch, uri, experiment, resume=resume) as session,
        ):
            return _run_session(session, began)
    except KeyboardInterrupt:
        raise _interrupted(folder, is_tracked=uri is not None) from None


def _run_session(session: Session, began: float) -> StudySummary:
    """Do what is left of a study: all of it, a part, or what comes after its end."""
    config, history = session.config, session.history
    if history.is_finished and not history.asked_for_more(config):
        _say_changes(session)
        _make_good(session)
        return _result(session)
    if history:
        check_goes_on(history, config)  # as far as it can be told before data are read and Ray is started
    if not history or config.search.trials > history.config.search.trials:
        check_budget(config)
    check_tracking(config)
    check_fits(config.resources)
    task, held_out = _run_stages(session)
    return _finish(session, task, held_out, began)


def _say_changes(session: Session) -> None:
    """What is changed of a finished study changes nothing but where its data and given weights are looked for."""
    config, history = session.config, session.history
    moved = moves(history, config)
    for change in check_changes(history, config):
        what = "this changes nothing but where it is looked for" if change in moved else "this changes nothing"
        session.recorder.show(f"{config.name} is finished, so {what}: {change}")
    if moved:
        save_study(with_moves(history, config), session.folder / CONFIG)


def _make_good(session: Session) -> None:
    """Do what was to come after a study's end, as far as that was cut off: its report, and MLflow's last part."""
    folder = session.folder
    _sweep(folder)
    if not (folder / REPORT / PAGE).exists():
        _report(session)
    if session.config.tracking == session.history.config.tracking:  # where it is changed, that changes nothing
        for file in (*sorted(folder.glob("*.png")), *shown_of(folder / REPORT)):
            session.recorder.artifact(file)
        session.catch_up()


def _run_stages(session: Session) -> tuple[Task, HeldOut]:
    """Everything up to the final evaluation, which alone opens the test split."""
    recorder = session.recorder
    with cluster(session.config, session.folder) as join:
        with recorder.stage("data"):
            task, held_out = load_task(session.config.task)
            _begin(session, task, held_out)
        with recorder.stage("start"):
            machine = join()
        machine.meanwhile = session.halt.check
        recorder.choice(machine.allocation.reason)
        setting = prepare(session, task, machine)
        with recorder.stage("search"):
            _search(session, task, setting, machine)
        if session.summary.best_trial is not None:
            if not run_finalists(session, task, setting, machine):
                raise _interrupted(session.folder)
            with recorder.stage("evaluate"):
                evaluate_finals(session, task, held_out, setting.teacher, machine)
    return task, held_out


def _begin(session: Session, task: Task, held_out: HeldOut) -> None:
    """Record the start of the study, or that it goes on and may."""
    data = json.loads(session.config.model_dump_json())
    check_pick(session.config, task)
    if session.history:
        changes = check_goes_on(session.history, session.config, task.fingerprint, held_out.fingerprint)
        event: StudyStarted | StudyResumed = StudyResumed(
            time=time.time(), config=data, changes=changes, provenance=provenance()
        )
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
            test_fingerprint=held_out.fingerprint,
            provenance=provenance(),
            classes=task.classes,
        )
    session.begin(event)
    if isinstance(task, TextTask) and task.chosen and not session.history:
        session.recorder.choice(task.chosen)
    for told in overlaps_told(task, held_out) if not session.history else ():
        session.recorder.warn(told)
    if told := check_tracking(session.config):
        session.recorder.warn(told)


def _search(session: Session, task: Task, setting: WorkerSetting, machine: Cluster) -> None:
    """Search what the study is of, or each method that it compares; the time that is left is shared evenly.

    Raises:
        Interrupted: somebody stopped it.
    """
    history = session.history
    arms = arms_of(session.config, len(task.train))
    parallel, before = machine.allocation.parallel, history.precision.parallel if history.precision else None
    if session.config.compare and history.arms and before not in (None, parallel):
        session.recorder.warn(
            f"this comparison had {plural(before or 0, 'trial')} at a time before, and goes on with {parallel}: its "
            "methods are not searched alike (resources.parallel_trials)"
        )
    shares = Shares(session.config.search.time_budget, len(arms))
    for place, arm in enumerate(arms):
        if session.halt.is_asked:  # it came with the last results of the arm before
            raise _interrupted(session.folder)
        used, began = history.arm_seconds(arm.label), time.monotonic()
        is_past = any(later.label in history.arms for later in arms[place + 1 :])
        _search_arm(session, task, setting, machine, arm, share=shares.next(), before=used, is_past=is_past)
        shares.use(used + time.monotonic() - began)


def _search_arm(
    session: Session,
    task: Task,
    setting: WorkerSetting,
    machine: Cluster,
    arm: Arm,
    *,
    share: float | None,
    before: float,
    is_past: bool,
) -> None:
    """Run the trials that are left of one search, for as long as it has time: `share`, of which `before` is used."""
    config, recorder, history, halt = session.config, session.recorder, session.history, session.halt
    parallel = machine.allocation.parallel

    def record(event: Event) -> None:
        recorder.record(event)
        if (seconds := seconds_told(event)) is not None:
            halt.heard(seconds)

    book = StudyBook(
        arm.study,
        session.folder / journal_name(arm.label),
        record,
        parallel=parallel,
        direction=task.direction,
        history=history.events,
        arm=arm.label,
        first=arm.first,
    )
    if history.test_opened is not None:  # its time was over then, so it may have fewer trials than were asked for
        book.cut("the test split is open")
    elif is_past:  # so was its share of the time
        book.cut("the next method is being searched")
    elif history.has_chosen_finalists(config):
        book.cut("the finalists are chosen")
    search, is_new = arm.study.search, not book.closed and not book.is_over
    if is_new and arm.label:
        recorder.choice(f"{arm.prefix}{plural(search.trials, 'trial')} over {space_text(search.space)}")
    if is_new and search.space and search.sampler != "random":
        recorder.choice(say_informed(arm, parallel))
    if not book.is_over:
        with halt.search(None if share is None else share - before):
            if not halt.is_out_of_time:
                machine.search(book, setting, task, halt, trials=book.left, retries=config.resources.max_failures)
    if book.is_over:
        return
    if halt.is_asked or not halt.is_out_of_time:
        book.settle()
        raise _interrupted(session.folder)
    whose, trials = f"{arm.prefix}its share of " if arm.label else "", len(book.closed)
    book.cut(f"{_OUT_OF_TIME} ({share:g} s)")
    recorder.choice(f"{whose}search.time_budget of {config.search.time_budget:g} s is used up after {trials} trials")


def _interrupted(folder: Path, *, is_tracked: bool = False) -> Interrupted:
    """What a stop leaves of a study, which may have come to its end before.

    Args:
        folder: the study's.
        is_tracked: whether MLflow is told of it.
    """
    ledger = folder / LEDGER
    history = History(events(ledger)) if ledger.exists() else History()
    if not history:  # data were still being read
        return Interrupted(f"{folder.name}: stopped before it began; start it again with the same command")
    said = "stopped; what is finished is kept, what was running goes on from its checkpoint"
    if history.is_finished:
        late = [] if (folder / REPORT / PAGE).exists() else ["its report"]
        late += ["the last of it in MLflow"] if is_tracked else []
        said = "finished, and stopped after its end" + (f": {' and '.join(late)} may be missing" if late else "")
    return Interrupted(f"{folder.name}: {said}\ngo on with: autockd resume {study_argument(folder)}")


def _finish(session: Session, task: Task, held_out: HeldOut, began: float) -> StudySummary:
    """Export the best student, close the study, write its report.

    Raises:
        ExportError: no student may be exported, though trials have succeeded.
        NoTrialSucceeded: no trial has a student.
    """
    folder, recorder, summary = session.folder, session.recorder, session.summary
    problem = _export(session, summary, task, held_out)
    best = summary.best
    _sweep(folder)
    seconds = {**recorder.seconds, "total": time.perf_counter() - began}
    told = events(folder / LEDGER)
    recorder.record(
        StudyFinished(
            time=time.time(),
            complete=summary.count("complete"),
            pruned=summary.count("pruned"),
            failed=summary.count("failed"),
            best_trial=summary.best_trial,
            best_value=best.value if best else None,
            seconds=seconds,
            split=time_split(told, seconds),
            bound=bound_of(told, seconds["total"]),
        )
    )
    _report(session)
    if problem:
        raise ExportError(problem)
    return _result(session)


def _export(session: Session, summary: StudySummary, task: Task, held_out: HeldOut) -> str:
    """Export the study's student, unless that is done.

    Returns:
        Why none is exported although trials have succeeded, and what to do about it; empty otherwise.
    """
    config, again = session.config, f"autockd export {study_argument(session.folder)}"
    chosen, problem = row_to_export(summary, config.export.pick)
    if problem:
        return f"{problem}; nothing is exported -> {again} --pick with other limits"
    if chosen is None or session.history.exported is not None:
        return ""
    row, run = winner(summary, config.export.pick)

    def write(*, onnx: bool, int8: bool) -> Exported:
        to = session.folder / BUNDLE
        force = to.exists()  # then it was written just before a stop, or by hand before the search was over
        return export_trial(
            config,
            session.folder,
            row,
            summary,
            task,
            held_out,
            run=run,
            to=to,
            onnx=onnx,
            int8=int8,
            force=force,
            warn=session.recorder.warn,
        )

    with session.recorder.stage("export"):
        try:
            session.recorder.record(_exported(session, write))
        except ExportError as error:
            return f"{error}\nnothing is exported; once that is mended: {again}"
    return ""


def _exported(session: Session, write: Callable[..., Exported]) -> Exported:
    """Write the bundle, without an int8 model or ONNX where the student cannot have that: it is not to be for nothing.

    Raises:
        ExportError: it cannot be written without either.
    """
    export, problem = session.config.export, None
    for onnx, int8 in dict.fromkeys([(export.onnx, export.int8), (export.onnx, False), (False, False)]):
        try:
            exported = write(onnx=onnx, int8=int8)
        except ExportError as error:
            problem = error
            continue
        if problem is not None:
            without = "an int8 model" if onnx else "ONNX"
            session.recorder.warn(f"the student is exported without {without}: {problem}")
        return exported
    assert problem is not None, "the last of these has failed"
    raise problem


def _report(session: Session) -> None:
    """Write the report of a study that is over."""
    again = f"`autockd report {study_argument(session.folder)}`"
    with session.recorder.harmless(f"the report was not written, and {again} tries again"):
        write_report(events(session.folder / LEDGER), session.folder / REPORT)
        for file in shown_of(session.folder / REPORT):
            session.recorder.artifact(file)


def _sweep(folder: Path) -> None:
    """Remove what killed writers left, and the checkpoints of runs that are over; nothing that a link leads to."""
    folder = folder.resolve()
    for place in ("", "teacher/", "assistant/", "costs/", "trials/*/", "finalists/*/"):
        for path in folder.glob(f"{place}*"):
            if not (is_draft(path.name) or path.name == CHECKPOINT) or path.parent.resolve() != path.parent:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _result(session: Session) -> StudySummary:
    """What a finished study says.

    Raises:
        NoTrialSucceeded: none of its trials has a student.
        ExportError: it has one, and no bundle.
    """
    summary = session.summary
    if summary.best is None:
        reasons = "; ".join(dict.fromkeys(row.reason.splitlines()[0] for row in summary.trials if row.reason))
        more = f" -> autockd resume {study_argument(session.folder)} --time-budget TIME, with a longer one"
        raise NoTrialSucceeded(
            f"none of {plural(len(summary.trials), 'trial')} succeeded: {reasons or 'only baselines ran'}"
            f"{more if _OUT_OF_TIME in reasons else ''}"
        )
    if summary.bundle is None and not (session.folder / BUNDLE).exists():
        again = f"autockd export {study_argument(session.folder)}"
        raise ExportError(f"{summary.study}: finished, and nothing is exported -> {again}")
    return summary
