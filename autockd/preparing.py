"""What all trials of a study share, made ready before the first of them: precision, teacher, bank, and the plan."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from autockd.checking import normalisation_told
from autockd.config.arms import arms_of
from autockd.config.kinds import uses_assistant, uses_teacher
from autockd.config.schema import StudyConfig, TeacherConfig
from autockd.config.trial import TrialConfig, baseline_config, trial_config
from autockd.costs import FOLDER as COSTS
from autockd.costs import CostMeter, Latency, known_architectures, measure_all
from autockd.data import Task
from autockd.data.metrics import METRICS
from autockd.distillation import Plan, compile_plan, make_method
from autockd.distillation.space_warnings import space_warnings
from autockd.errors import ConfigError, ExportError, StudyError
from autockd.history import History
from autockd.models import read_state, weights_hash
from autockd.provenance import provenance
from autockd.records import (
    AssistantReady,
    BankReady,
    BankRecord,
    Precision,
    PrecisionChoice,
    PrecisionChosen,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TeacherRecord,
)
from autockd.report.accounting import added
from autockd.report.preview import unused_teacher
from autockd.search.cluster import Cluster
from autockd.search.connection import LOCAL
from autockd.search.stages import (
    check_bank,
    check_student,
    fill_bank,
    longest_run,
    probe_precision,
    ready_teacher,
    teacher_progress,
)
from autockd.search.worker import WorkerSetting
from autockd.session import Session
from autockd.text import metric_text, plural
from autockd.tracking.figures import plain_style, plan_figure
from autockd.training.networks import kept_model
from autockd.training.peaks import peaks_if_they_fit
from autockd.training.teacher import TeacherSpec, changed_text

TEACHER = "teacher/model.safetensors"
"""A study's own copy of its teacher's weights."""

ASSISTANT = "assistant/model.safetensors"
"""The same of its assistant."""

_SHOW_EVERY = 10.0
"""Seconds between two looks at how a teacher's training goes."""


def prepare(session: Session, task: Task, machine: Cluster) -> WorkerSetting:
    """Choose the precision, train or load teacher and assistant, fill their banks; what is known already is taken so.

    Raises:
        StudyError: the study goes on, and its teacher or assistant is not the one that its trials have learned from.
        ModelError, ConfigError, EnvironmentProblem: the teacher cannot be loaded or trained.
    """
    recorder, resources = session.recorder, session.config.resources
    with recorder.stage("probe"):
        precision = _precision(session, task, machine)
    for told in normalisation_told(session.config, task) if not session.history else ():
        recorder.choice(told)
    with recorder.stage("teacher"):
        teacher = _ready(session, task, machine, precision)
        if resources.address != LOCAL:  # where it is built first by a trial, a node without its base fails them all
            machine.on_every_node(check_student, lambda _: [(session.config, teacher, task)])
    if uses_teacher(session.config):
        with recorder.stage("bank"):
            bank = _fill_bank(session, task, teacher, machine)
            recorder.record(BankReady(time=time.time(), bank=bank))
    assistant = None
    if uses_assistant(session.config):
        with recorder.stage("assistant"):
            assistant = _ready(session, task, machine, precision, teacher)
        with recorder.stage("bank"):
            bank = _fill_bank(session, task, assistant, machine)
            recorder.record(BankReady(time=time.time(), bank=bank, whose="assistant"))
    with recorder.stage("costs"):
        measure = _cost_meter(session, task, teacher, machine)
    setting = WorkerSetting(
        study=session.folder,
        teacher=teacher,
        precision=precision,
        gpus=machine.allocation.gpus,
        timeout=resources.trial_timeout,
        hang_factor=resources.hang_factor,
        assistant=assistant,
        measure=measure,
        traced=_traced(session.config),
        cuda_graphs=resources.cuda_graphs,
    )
    _look_at_plans(session, task, setting)
    return setting


def _traced(config: StudyConfig) -> int | None:
    """The trial whose steps are traced: the first that is no baseline; None without a profile."""
    first = 0 if config.compare else len(config.search.baselines)
    return min(first, config.search.trials - 1) if config.resources.profile else None


def _precision(session: Session, task: Task, machine: Cluster) -> PrecisionChoice:
    device, known = machine.allocation.device, session.history.precision
    if known is not None and known.choice.device == device:
        choice = _on_cores(known.choice, machine.allocation.cpus)
        workers = _workers(session, machine, choice)
        is_same = choice == known.choice and _is_where_it_was(session.history)
        peaks = known.peaks if is_same else machine.call(peaks_if_they_fit, choice.threads, device)
        now = known.model_copy(update={"time": time.time(), "choice": choice, "peaks": peaks, **workers})
        if known != now.model_copy(update={"time": known.time}):
            session.recorder.record(now)
        return choice
    choice, peaks = machine.call(probe_precision, session.config, task, machine.allocation.cpus, device)
    workers = _workers(session, machine, choice)
    if known is not None:
        before = known.choice
        session.recorder.warn(
            f"trials so far were trained on {before.device} in {before.precision}, those from here on are on {device} "
            f"in {choice.precision}: a part of what they differ by is that"
        )
    session.recorder.record(PrecisionChosen(time=time.time(), choice=choice, peaks=peaks, **workers))
    return choice


def _workers(session: Session, machine: Cluster, choice: PrecisionChoice) -> dict[str, float]:
    """How many workers there will be, for which there is memory too, and the GPUs of each."""
    if machine.make_room(session.config.resources, choice.memory):
        session.recorder.choice(machine.allocation.reason)
    return {"parallel": machine.allocation.parallel, "gpus": machine.allocation.gpus}


def _is_where_it_was(history: History) -> bool:
    """Whether a study goes on on the machine on which it ran last."""
    last = [event for event in history.events if isinstance(event, StudyStarted | StudyResumed)][-1].provenance
    now = provenance()
    return (last.host, last.cpus, last.gpus) == (now.host, now.cpus, now.gpus)


def _on_cores(choice: PrecisionChoice, cores: int) -> PrecisionChoice:
    """The same arithmetic on no more threads than a trial has cores: a study may go on with fewer."""
    if choice.threads <= cores:
        return choice
    reason = f"{choice.precision}, {plural(cores, 'thread')}: a trial has fewer cores than before"
    return choice.model_copy(update={"threads": cores, "reason": reason})


def _ready(
    session: Session, task: Task, machine: Cluster, precision: PrecisionChoice, teacher: TeacherSpec | None = None
) -> TeacherSpec:
    """The teacher, or the assistant that `teacher` teaches.

    For a study that goes on, its own copy of it, or the same from where it came from.
    """
    study, history, recorder = session.config, session.history, session.recorder
    if teacher is None:
        role, own, config, known = "teacher", session.folder / TEACHER, study.teacher, history.teacher
    else:
        assert study.assistant is not None, "a study whose methods need an assistant has one"
        role, own, config, known = "assistant", session.folder / ASSISTANT, study.assistant, history.assistant
    spec = _own_copy(config, own, known)
    if spec is None:
        answers, expected = _as_before(study, known, precision)
        where = (own, machine.whole_cpus, machine.allocation.device)
        with _showing_progress(session, machine, role, teacher_progress(own)):
            spec = machine.call(ready_teacher, study, task, *where, answers, expected, teacher)
    if known is not None:
        spec = _checked(session, role, spec, known)
    elif teacher is None:
        recorder.record(TeacherReady(time=time.time(), teacher=spec.record))
        _warn_of_chance(session, task, spec.record)
    else:
        recorder.record(AssistantReady(time=time.time(), assistant=spec.record))
    _warn_of_answers(session, role, spec.record, known)
    return spec


def _warn_of_chance(session: Session, task: Task, found: TeacherRecord) -> None:
    """Where the teacher knows no more than whoever always says the same; a given one may number classes its way."""
    chance, answer = _always_the_same(task)
    if found.metric > chance:
        return
    own, other = (metric_text(value, task.metric) for value in (found.metric, chance))
    text = (
        f"the teacher's {task.metric} on the validation split is {own}, and that of always giving {answer} is {other}"
    )
    if found.origin == "given" and task.classes:
        text += f"; are its outputs in the order of the task's classes, {', '.join(map(repr, task.classes[:5]))}, ...?"
    session.recorder.warn(text)


def _always_the_same(task: Task) -> tuple[float, str]:
    """The best metric without looking at a sample, and the answer that has it: the most frequent class, or class 1,
    which f1 is of; of scores any.
    """
    targets, compute = task.validation.targets, METRICS[task.metric].compute
    if not task.classes:
        return compute(torch.zeros(len(targets), 1), targets), "the same score"
    answers = (int(torch.bincount(targets).argmax()), min(1, task.outputs - 1))
    one_hot = torch.eye(task.outputs)
    best = {answer: compute(one_hot[answer].expand(len(targets), -1), targets) for answer in answers}
    chosen = max(best, key=lambda answer: best[answer])
    return best[chosen], repr(task.classes[chosen])


def _as_before(
    config: StudyConfig, known: TeacherRecord | None, precision: PrecisionChoice
) -> tuple[Precision, str | None]:
    """The arithmetic in which a teacher, or an assistant, is to answer, and the hash that its weights must have."""
    if known is not None:
        return known.answers, known.weights_hash
    wanted = config.resources.teacher_precision
    return precision.precision if wanted == "auto" else wanted, None


def _own_copy(config: TeacherConfig, own: Path, known: TeacherRecord | None) -> TeacherSpec | None:
    """What the study has kept of a trained teacher, or of a given one that is where it was no more.

    Its hash is that of the file, which may not be what is known.
    """
    given = config.model.weights
    if known is None or not own.exists() or (given is not None and given.exists()):
        return None
    model = kept_model(config.model, own.parent)
    found = known.model_copy(update={"weights_hash": weights_hash(read_state(own))})
    return TeacherSpec(config.model_copy(update={"model": model}), own, found)


def _checked(session: Session, role: str, spec: TeacherSpec, known: TeacherRecord) -> TeacherSpec:
    """What goes on as that which trials have learned from: with its weights, and under the name that its bank has.

    How it reads texts is so compared by its answers, which the bank keeps: a name would change with transformers too.
    """
    found = spec.record.weights_hash
    if found != known.weights_hash:
        raise StudyError(f"{session.config.name} cannot go on: {changed_text(role, known.weights_hash, found)}")
    return replace(spec, record=spec.record.model_copy(update={"reading": known.reading}))


def _warn_of_answers(session: Session, role: str, found: TeacherRecord, known: TeacherRecord | None) -> None:
    """Where a teacher answers in fp32 though it answered in bf16 before, or bf16 was insisted on."""
    if found.answers != "fp32":
        return
    off = f"its answers in bf16 are {100 * found.answers_difference:.1f} % off those in fp32 on this machine"
    if known is not None and known.answers == "bf16":
        session.recorder.warn(f"{off}: the {role} answers in fp32 from here on, and trials so far learned from bf16")
    elif known is None and session.config.resources.teacher_precision == "bf16":
        session.recorder.warn(f"{off}: the {role} answers in fp32, though resources.teacher_precision is bf16")


@contextmanager
def _showing_progress(session: Session, machine: Cluster, role: str, path: Path) -> Iterator[None]:
    """Show now and then what a file says that somebody else writes, as often as it says something new."""
    before, looked, said = machine.meanwhile, time.monotonic(), ""

    def look() -> None:
        nonlocal looked, said
        before()
        if time.monotonic() - looked < _SHOW_EVERY:
            return
        looked = time.monotonic()
        with suppress(OSError):
            text = path.read_text(encoding="utf-8")
            if text != said:
                said = text
                session.recorder.show(f"{role}: {said}")

    machine.meanwhile = look
    try:
        yield
    finally:
        machine.meanwhile = before


_NOTHING_TO_TEACH = (
    "two standardised logits say which is larger and no more, so the soft loss has no gradient; "
    "set standardise_logits to false"
)


def _look_at_plans(session: Session, task: Task, setting: WorkerSetting) -> None:
    """Warn of what the study's own trial, of each compared method, and its space say before any runs; draw its plan."""
    for arm in arms_of(session.config, len(task.train)):
        trial = trial_config(arm.study, {})
        plan, told = _plan_and_warnings(trial, task, setting)
        moment = setting.teacher_of(trial.method).record.second_moment
        for warning in (*told, *space_warnings(arm.study, moment)):
            session.recorder.warn(f"{arm.prefix}{warning}")
        if not arm.label or _has_schedule(plan):
            _draw(plan, session, arm.label, trial.method.name)
    for method in session.config.search.baselines if not session.config.compare else ():
        _, told = _plan_and_warnings(baseline_config(session.config, method), task, setting)
        for warning in told:
            session.recorder.warn(f"baseline {method.name}: {warning}")


def _plan_and_warnings(trial: TrialConfig, task: Task, setting: WorkerSetting) -> tuple[Plan, tuple[str, ...]]:
    """A trial's plan, and what is odd about it."""
    moment = setting.teacher_of(trial.method).record.second_moment
    plan = compile_plan(trial, len(task.train), moment)
    told = make_method(trial.method).warnings(plan.run, moment)
    has_nothing = task.outputs == 2 and getattr(trial.method, "standardise_logits", False)
    return plan, (*told, *unused_teacher(trial, plan), *([_NOTHING_TO_TEACH] if has_nothing else []))


def _draw(plan: Plan, session: Session, label: str, method: str) -> None:
    """Draw a plan into the study's folder, and for MLflow."""
    path = session.folder / (f"plan-{label}.png" if label else "plan.png")
    columns = {name: plan.column(name) for name in plan.columns}
    title = f"{label or method}: the study's own values"
    with session.recorder.harmless("the plan was not drawn"), plain_style():
        plan_figure(columns, plan.run.steps_per_epoch, title).savefig(path)
        session.recorder.artifact(path)


def _has_schedule(plan: Plan) -> bool:
    return any(len(set(plan.column(name))) > 1 for name in plan.columns if name != "learning_rate")


def _fill_bank(session: Session, task: Task, teacher: TeacherSpec, machine: Cluster) -> BankRecord:
    """Fill the bank of every node, and check it; the record is that of all of them."""
    what = (teacher, task, machine.allocation.device, machine.worker_cpus)
    epochs, began = longest_run(session.config), time.perf_counter()
    parts = machine.on_every_node(fill_bank, lambda shards: [(*what, epochs, n, shards) for n in range(shards)])
    checked = machine.on_every_node(check_bank, lambda _: [(*what, session.config.seed)])
    return checked[0].model_copy(
        update={
            "filled": min(bank.filled for bank in checked),
            "checked": min(bank.checked for bank in checked),
            "max_difference": max(bank.max_difference for bank in checked),
            "hits": sum(part.hits for part in parts),
            "misses": sum(part.misses for part in parts),
            "work": added(part.work for part in parts),
            "seconds": time.perf_counter() - began,
        }
    )


def _cost_meter(session: Session, task: Task, teacher: TeacherSpec, machine: Cluster) -> CostMeter | None:
    """What measures students, where that is asked for.

    Latencies are measured now, while nothing else runs, as far as the space's students can be counted.

    Raises:
        ConfigError: a student cannot be exported, so that its latency cannot be measured.
    """
    if not session.config.search.objectives:
        return None
    meter = CostMeter(session.config.search.objectives, session.folder / COSTS, teacher.folder)
    trials = known_architectures(session.config) if meter.measures_latency else []
    if new := [trial for trial in trials if not meter.knows(trial)]:
        try:
            found = machine.call(measure_all, meter, new, task)
        except ExportError as error:
            raise ConfigError.of(
                "search.objectives", f"the latency of a student cannot be measured: {error}", "take latencies out"
            ) from error
        session.recorder.choice(_say_latencies(found))
    return meter


def _say_latencies(found: Sequence[Latency]) -> str:
    """How latencies were measured, and their ranges; the same architecture may be there twice."""
    names = found[0].milliseconds
    ranges = {name: sorted(each.milliseconds[name] for each in found) for name in names}
    said = ", ".join(f"{name} {values[0]:.3g} to {values[-1]:.3g}" for name, values in ranges.items())
    students = len({each.model_dump_json() for each in found})
    return f"latency of {plural(students, 'student')}, measured once for all trials: {said} ({found[0].how})"
