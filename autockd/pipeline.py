"""The stages of a study, in order: data, teacher, bank, search, final evaluation, export."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig, trial_config
from autockd.data import HeldOut, Task, load_task
from autockd.distillation import compile_plan, make_method
from autockd.errors import Interrupted, NoTrialSucceeded, StudyError
from autockd.exporting import BUNDLE, LEDGER, check_models, export_trial
from autockd.folders import studies_folder
from autockd.hashing import content_hash
from autockd.history import History, check_goes_on
from autockd.models import read_state, weights_hash
from autockd.provenance import provenance
from autockd.recorder import Recorder
from autockd.records import (
    BankReady,
    BankRecord,
    Evaluated,
    Event,
    PrecisionChosen,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialStarted,
)
from autockd.report import StudySummary, summary_of
from autockd.search.book import StudyBook
from autockd.search.cluster import Cluster, cluster
from autockd.search.halt import Halt
from autockd.search.stages import (
    Subject,
    check_bank,
    fill_bank,
    longest_run,
    probe_precision,
    ready_teacher,
    score,
    uses_teacher,
)
from autockd.search.worker import WorkerSetting
from autockd.tracking import Ledger, MlflowSink, events, plan_figure, redact, search_history_figure
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
    with _recorder(config, folder, watch, uri, experiment, resume=resume) as (recorder, history):
        if history.is_finished and config.search.trials <= history.config.search.trials:
            return _result(folder)
        halt = Halt(folder)
        try:
            with halt.listening():
                task = _run_stages(config, folder, recorder, history, halt)
                return _finish(config, folder, task, recorder, history, began)
        except KeyboardInterrupt:
            raise _interrupted(folder) from None


def _run_stages(config: StudyConfig, folder: Path, recorder: Recorder, history: History, halt: Halt) -> Task:
    with recorder.stage("data"):
        task, held_out = load_task(config.task)
        if history:
            _note_resumption(config, folder, task, recorder, history)
        else:
            check_models(config, task)
            recorder.record(_study_started(config, task))
    with ExitStack() as stack:
        with recorder.stage("start"):
            machine = stack.enter_context(cluster(config.resources))
        recorder.choice(machine.allocation.reason)
        setting = _prepare(config, folder, task, machine, recorder, history)
        with recorder.stage("search"):
            _search(config, folder, task, setting, machine, recorder, history, halt)
        if summary_of(folder / LEDGER).best_trial is not None:
            with recorder.stage("evaluate"):
                _evaluate(folder, task, held_out, setting.teacher, machine, recorder, history)
    return task


@contextmanager
def _recorder(
    config: StudyConfig, folder: Path, watch: Callable[[Event], None], uri: str | None, experiment: str, *, resume: bool
) -> Iterator[tuple[Recorder, History]]:
    with Ledger(folder / LEDGER) as ledger:
        history = History(list(ledger.read()))
        if history and not resume:
            raise StudyError(
                f"{folder}: this study has begun already; go on with `autockd resume {config.name}`, or start another "
                "with `autockd run FILE name=...`"
            )
        sink = MlflowSink(uri, experiment, config.name, ledger=folder / LEDGER) if uri else None
        recorder = Recorder(ledger, sink, watch)
        if sink is None or history.is_finished:
            yield recorder, history
            return
        sink.start()
        try:
            recorder.artifact(folder / "study.yaml")
            yield recorder, history
        finally:
            summary = sink.close()
            if summary.missed or summary.artifacts_missed:
                recorder.warn(
                    f"MLflow at {redact(uri or '')} misses {summary.missed} events ({summary.last_error}); bring them "
                    f"there with `autockd sync {config.name}`"
                )


def _study_started(config: StudyConfig, task: Task) -> StudyStarted:
    data = json.loads(config.model_dump_json())
    return StudyStarted(
        time=time.time(),
        study=config.name,
        config=data,
        config_hash=content_hash(data),
        metric=task.metric,
        direction=task.direction,
        task_fingerprint=task.fingerprint,
        provenance=provenance(Path.cwd()),
    )


def _note_resumption(config: StudyConfig, folder: Path, task: Task, recorder: Recorder, history: History) -> None:
    changes = check_goes_on(history, config, task.fingerprint)
    data = json.loads(config.model_dump_json())
    recorder.record(StudyResumed(time=time.time(), config=data, changes=changes, provenance=provenance(Path.cwd())))


def _interrupted(folder: Path) -> Interrupted:
    return Interrupted(
        f"{folder.name}: stopped; what is finished is kept, what was running goes on from its checkpoint\n"
        f"go on with: autockd resume {folder.name if folder.parent == studies_folder().absolute() else folder}"
    )


def _prepare(
    config: StudyConfig, folder: Path, task: Task, machine: Cluster, recorder: Recorder, history: History
) -> WorkerSetting:
    """The precision, the teacher and its bank: all that trials share."""
    device = machine.allocation.device
    with recorder.stage("probe"):
        precision = history.precision
        if precision is None or precision.device != device:
            precision = machine.call(probe_precision, config, task, machine.allocation.cpus, device)
            recorder.record(PrecisionChosen(time=time.time(), choice=precision))
    with recorder.stage("teacher"):
        teacher = _teacher(config, folder, task, machine, recorder, history)
    _plan(config, folder, task, teacher, recorder)
    if uses_teacher(config):
        with recorder.stage("bank"):
            recorder.record(BankReady(time=time.time(), bank=_fill_bank(config, task, teacher, machine)))
    resources = config.resources
    return WorkerSetting(
        study=folder,
        teacher=teacher,
        precision=precision,
        gpus=machine.allocation.gpus,
        timeout=resources.trial_timeout,
        hang_factor=resources.hang_factor,
    )


def _teacher(
    config: StudyConfig, folder: Path, task: Task, machine: Cluster, recorder: Recorder, history: History
) -> TeacherSpec:
    """The teacher, which for a study that goes on must be the one that its trials have learned from."""
    own, known = folder / "teacher" / "teacher.safetensors", history.teacher
    if known is not None and config.teacher.model.weights is None and own.exists():
        found = weights_hash(read_state(own))
        spec = TeacherSpec(config.teacher, own, known)
    else:
        spec = machine.call(ready_teacher, config, task, own, machine.whole_cpus, machine.allocation.device)
        found = spec.record.weights_hash
    if known is None:
        recorder.record(TeacherReady(time=time.time(), teacher=spec.record))
    elif found != known.weights_hash:
        raise StudyError(
            f"{config.name} cannot go on: its teacher has changed. Trials so far learned from weights "
            f"{known.weights_hash[:12]}, and these are {found[:12]}; put them back, or start a new study"
        )
    return spec


def _search(
    config: StudyConfig,
    folder: Path,
    task: Task,
    setting: WorkerSetting,
    machine: Cluster,
    recorder: Recorder,
    history: History,
    halt: Halt,
) -> None:
    """Run the trials that are left, for as long as there is time.

    Raises:
        Interrupted: somebody stopped it.
    """
    search, parallel = config.search, machine.allocation.parallel
    book = StudyBook(
        config,
        folder / JOURNAL,
        recorder.record,
        parallel=parallel,
        direction=task.direction,
        history=history.events,
    )
    left = None if search.time_budget is None else search.time_budget - history.search_seconds
    if not book.is_over:
        with halt.search(left):
            retries, trials = config.resources.max_failures, search.trials - len(book.closed)
            machine.search(book, setting, task, halt, trials=trials, retries=retries)
    if book.is_over:
        return
    if not halt.is_out_of_time or halt.is_asked:
        raise _interrupted(folder)
    book.cut(f"the search's time is over ({search.time_budget:g} s)")
    recorder.choice(f"search.time_budget of {search.time_budget:g} s is used up after {len(book.closed)} trials")


def _plan(config: StudyConfig, folder: Path, task: Task, teacher: TeacherSpec, recorder: Recorder) -> None:
    """Draw the plan of the study's own trial, and warn of what it says before any trial runs."""
    trial = trial_config(config, {})
    _draw_plan(folder / "plan.png", trial, task, teacher.record.second_moment, "the study's own values")
    recorder.artifact(folder / "plan.png")
    plan = compile_plan(trial, len(task.train), teacher.record.second_moment)
    for warning in make_method(trial.method).warnings(plan.run, teacher.record.second_moment):
        recorder.warn(warning)


def _draw_plan(path: Path, trial: TrialConfig, task: Task, second_moment: float, title: str) -> None:
    plan = compile_plan(trial, len(task.train), second_moment)
    columns = {name: plan.column(name) for name in plan.columns}
    plan_figure(columns, plan.run.steps_per_epoch, f"{trial.method.name}: {title}").savefig(path)


def _fill_bank(config: StudyConfig, task: Task, teacher: TeacherSpec, machine: Cluster) -> BankRecord:
    shards = machine.allocation.parallel
    device, epochs = machine.allocation.device, longest_run(config)
    began = time.perf_counter()
    parts = machine.map(fill_bank, [(teacher, task, device, epochs, shard, shards) for shard in range(shards)])
    checked = machine.call(check_bank, teacher, task, device, config.seed)
    return checked.model_copy(
        update={
            "hits": sum(part.hits for part in parts),
            "misses": sum(part.misses for part in parts),
            "seconds": time.perf_counter() - began,
        }
    )


def _evaluate(
    folder: Path,
    task: Task,
    held_out: HeldOut,
    teacher: TeacherSpec,
    machine: Cluster,
    recorder: Recorder,
    history: History,
) -> None:
    """Open the test split, once, for the teacher, the baselines and the best student; go on where that was cut off."""
    subjects = _subjects(folder, teacher)
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


def _subjects(folder: Path, teacher: TeacherSpec) -> list[Subject]:
    summary = summary_of(folder / LEDGER)
    trials = {event.trial: event for event in events(folder / LEDGER) if isinstance(event, TrialStarted)}
    subjects = [Subject("teacher", None, teacher.config.model, teacher.weights)]
    for row in summary.trials:
        if row.weights is None or not (row.role == "baseline" or row.trial == summary.best_trial):
            continue
        label = "best" if row.trial == summary.best_trial else row.method
        if any(subject.label == label for subject in subjects):
            label = f"{label} {row.trial}"
        student = TrialConfig.model_validate(trials[row.trial].config).student
        subjects.append(Subject(label, row.trial, student, folder / row.weights))
    return subjects


def _finish(
    config: StudyConfig, folder: Path, task: Task, recorder: Recorder, history: History, began: float
) -> StudySummary:
    """Export the best student, draw the search, close the study."""
    summary = summary_of(folder / LEDGER)
    best = summary.best
    if best is not None and history.exported is None:
        with recorder.stage("export"):
            # A bundle that stands there already was written just before a stop, or by hand before the search was over.
            onnx, stands = config.export.onnx, (folder / BUNDLE).exists()
            recorder.record(export_trial(config, folder, best, summary, task, onnx=onnx, force=stands))
    figure = folder / "search_history.png"
    search_history_figure(events(folder / LEDGER)).savefig(figure)
    recorder.artifact(figure)
    recorder.record(
        StudyFinished(
            time=time.time(),
            complete=summary.count("complete"),
            pruned=summary.count("pruned"),
            failed=summary.count("failed"),
            best_trial=summary.best_trial,
            best_value=best.value if best else None,
            seconds={**recorder.seconds, "total": time.perf_counter() - began},
        )
    )
    return _result(folder)


def _result(folder: Path) -> StudySummary:
    """What a finished study says.

    Raises:
        NoTrialSucceeded: none of its trials has a student.
    """
    summary = summary_of(folder / LEDGER)
    if summary.best is None:
        reasons = "; ".join(dict.fromkeys(row.reason.splitlines()[0] for row in summary.trials if row.reason))
        raise NoTrialSucceeded(f"none of {len(summary.trials)} trials succeeded: {reasons or 'only baselines ran'}")
    return summary
