"""What all trials of a study share, made ready before the first of them: precision, teacher, bank, and the plan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autockd.config.trial import TrialConfig, trial_config
from autockd.data import Task
from autockd.distillation import compile_plan, make_method
from autockd.errors import StudyError
from autockd.models import read_state, weights_hash
from autockd.records import BankReady, BankRecord, PrecisionChoice, PrecisionChosen, TeacherReady
from autockd.report.accounting import added
from autockd.search.cluster import Cluster
from autockd.search.stages import (
    check_bank,
    fill_bank,
    longest_run,
    probe_precision,
    ready_teacher,
    teacher_progress,
    uses_teacher,
)
from autockd.search.worker import WorkerSetting
from autockd.session import Session
from autockd.tracking import plan_figure
from autockd.training.teacher import TeacherSpec

TEACHER = "teacher/model.safetensors"
"""A study's own copy of its teacher's weights."""

_SHOW_EVERY = 10.0
"""Seconds between two lines about a teacher in training."""


def prepare(session: Session, task: Task, machine: Cluster) -> WorkerSetting:
    """Choose the precision, train or load the teacher, fill its bank; what the study knows already is taken as it is.

    Raises:
        StudyError: the study goes on, and its teacher is not the one that its trials have learned from.
        ModelError, TrialFailed, EnvironmentProblem: the teacher cannot be loaded or trained.
    """
    recorder, resources = session.recorder, session.config.resources
    with recorder.stage("probe"):
        precision = _precision(session, task, machine)
    with recorder.stage("teacher"):
        teacher = _teacher(session, task, machine)
    _plan(session, task, teacher)
    if uses_teacher(session.config):
        with recorder.stage("bank"):
            recorder.record(BankReady(time=time.time(), bank=_fill_bank(session, task, teacher, machine)))
    return WorkerSetting(
        study=session.folder,
        teacher=teacher,
        precision=precision,
        gpus=machine.allocation.gpus,
        timeout=resources.trial_timeout,
        hang_factor=resources.hang_factor,
        traced=min(len(session.config.search.baselines), session.config.search.trials - 1)
        if resources.profile
        else None,
    )


def _precision(session: Session, task: Task, machine: Cluster) -> PrecisionChoice:
    device, known = machine.allocation.device, session.history.precision
    if known is not None and known.device == device:
        return known
    choice, peaks = machine.call(probe_precision, session.config, task, machine.allocation.cpus, device)
    parallel = machine.allocation.parallel
    session.recorder.record(PrecisionChosen(time=time.time(), choice=choice, peaks=peaks, parallel=parallel))
    return choice


def _teacher(session: Session, task: Task, machine: Cluster) -> TeacherSpec:
    """The teacher; for a study that goes on, its own copy of it, or the same from where it came from."""
    config, known = session.config.teacher, session.history.teacher
    own = session.folder / TEACHER
    if known is not None and config.model.weights is None and own.exists():
        found = weights_hash(read_state(own))
        spec = TeacherSpec(config, own, known)
    else:
        with _showing_progress(session, machine, teacher_progress(own)):
            spec = machine.call(ready_teacher, session.config, task, own, machine.whole_cpus, machine.allocation.device)
        found = spec.record.weights_hash
    if known is None:
        session.recorder.record(TeacherReady(time=time.time(), teacher=spec.record))
    elif found != known.weights_hash:
        raise StudyError(
            f"{session.config.name} cannot go on: its teacher has changed. Trials so far learned from weights "
            f"{known.weights_hash[:12]}, and these are {found[:12]}; put them back, or start a new study"
        )
    return spec


@contextmanager
def _showing_progress(session: Session, machine: Cluster, path: Path) -> Iterator[None]:
    """Show now and then what a file says that somebody else writes."""
    before, shown = machine.meanwhile, time.monotonic()

    def look() -> None:
        nonlocal shown
        before()
        if time.monotonic() - shown > _SHOW_EVERY:
            shown = time.monotonic()
            with suppress(OSError):
                session.recorder.show(f"teacher: {path.read_text(encoding='utf-8')}")

    machine.meanwhile = look
    try:
        yield
    finally:
        machine.meanwhile = before


def _plan(session: Session, task: Task, teacher: TeacherSpec) -> None:
    """Draw the plan of the study's own trial, and warn of what it says before any trial runs."""
    trial, moment = trial_config(session.config, {}), teacher.record.second_moment
    _draw_plan(session.folder / "plan.png", trial, task, moment, "the study's own values")
    session.recorder.artifact(session.folder / "plan.png")
    plan = compile_plan(trial, len(task.train), moment)
    for warning in make_method(trial.method).warnings(plan.run, moment):
        session.recorder.warn(warning)


def _draw_plan(path: Path, trial: TrialConfig, task: Task, second_moment: float, title: str) -> None:
    plan = compile_plan(trial, len(task.train), second_moment)
    columns = {name: plan.column(name) for name in plan.columns}
    plan_figure(columns, plan.run.steps_per_epoch, f"{trial.method.name}: {title}").savefig(path)


def _fill_bank(session: Session, task: Task, teacher: TeacherSpec, machine: Cluster) -> BankRecord:
    """Fill the bank of every node, and check it; the record is that of all of them."""
    device, epochs, seed = machine.allocation.device, longest_run(session.config), session.config.seed
    began = time.perf_counter()
    parts = machine.on_every_node(
        fill_bank, lambda slots: [(teacher, task, device, epochs, shard, slots) for shard in range(slots)]
    )
    checked = machine.on_every_node(check_bank, lambda slots: [(teacher, task, device, seed)])
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
