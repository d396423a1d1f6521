"""What trials share when a study goes on, and a teacher that answers otherwise than it was to, or has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_records import study_started, teacher_record

from autockd.config import parse_study
from autockd.config.models import Encoder
from autockd.config.schema import ResourceConfig
from autockd.data import Task
from autockd.errors import StudyError
from autockd.history import History
from autockd.limits import Peaks, Work
from autockd.models import build_model, read_state, save_weights, weights_hash
from autockd.preparing import (
    ASSISTANT,
    TEACHER,
    _always_the_same,
    _checked,
    _fill_bank,
    _look_at_plans,
    _on_cores,
    _own_copy,
    _precision,
    _ready,
    _warn_of_answers,
    _warn_of_chance,
)
from autockd.provenance import provenance
from autockd.records import (
    BankRecord,
    Event,
    Noted,
    Precision,
    PrecisionChoice,
    PrecisionChosen,
    TeacherRecord,
)
from autockd.search.resources import Allocation
from autockd.search.stages import check_bank, fill_bank, probe_precision, ready_teacher
from autockd.search.worker import WorkerSetting
from autockd.session import open_session
from autockd.study import ignore
from autockd.training.peaks import peaks_if_they_fit
from autockd.training.teacher import TeacherSpec

STUDY = """\
name: s
task: {{source: digits}}
teacher: {{model: {{family: cifar_resnet}}}}
student: {{model: {{family: cifar_resnet}}}}
resources: {{teacher_precision: {wanted}}}
"""


def answering(precision: Precision) -> TeacherRecord:
    return teacher_record(answers=precision, answers_difference=0.071)


def test_a_teacher_that_goes_on_keeps_the_name_of_its_bank(tmp_path: Path) -> None:
    """Another transformers may describe the same encoder otherwise: its answers decide, which are in that bank."""
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path)
    known, found = teacher_record(reading="as it was read"), teacher_record(reading="as it is read now")
    with open_session(study, tmp_path, ignore, None, "digits", resume=False) as session:
        spec = _checked(session, "teacher", TeacherSpec(study.teacher, tmp_path / "model.safetensors", found), known)
    assert spec.record == known


@pytest.mark.parametrize(
    ("origin", "metric", "said"),
    [
        ("trained", 0.5, "50.0 %, and that of always giving '{}' is {}"),
        (
            "given",
            0.05,
            "5.0 %, and that of always giving '{}' is {}; are its outputs in the order of the task's classes",
        ),
        ("given", 31 / 40, "77.5 %, and that of always giving '{}' is {}; are its outputs in the order of"),
        ("given", 0.9, None),
    ],
)
def test_a_teacher_that_knows_nothing_is_warned_about(
    origin: str, metric: float, said: str | None, task: Task, tmp_path: Path
) -> None:
    often = 6 if metric < 0.5 else 30
    targets = torch.tensor([3] * often + list(range(10)))
    seen = replace(task, validation=replace(task.validation, targets=targets))
    told: list[Event] = []
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path)
    with open_session(study, tmp_path, told.append, None, "digits", resume=False) as session:
        _warn_of_chance(session, seen, teacher_record(origin=origin, metric=metric))
    warnings = [event.text for event in told if isinstance(event, Noted)]
    share = f"{100 * (often + 1) / (often + 10):.1f} %"
    assert len(warnings) == (said is not None)
    whole = f"the teacher's accuracy on the validation split is {said}"
    assert all(text.startswith(whole.format(3, share)) for text in warnings)


@pytest.mark.parametrize(
    ("metric", "classes", "targets", "chance", "answer"),
    [
        ("f1", ("no", "yes"), [0, 0, 0, 1], 0.4, "'yes'"),
        ("matthews", ("a", "b", "c"), [0, 1, 2, 2], 0.0, "'c'"),
        ("pearson", (), [0.5, 1.5, 2.5, 4.0], 0.0, "the same score"),
    ],
)
def test_what_is_known_without_looking_depends_on_the_metric(
    metric: str, classes: tuple[str, ...], targets: list[float], chance: float, answer: str, task: Task
) -> None:
    seen = replace(
        task, metric=metric, classes=classes, validation=replace(task.validation, targets=torch.tensor(targets))
    )
    found, said = _always_the_same(seen)
    assert (found, said) == (pytest.approx(chance), answer)


OFF = "its answers in bf16 are 7.1 % off those in fp32 on this machine"
FROM_HERE = "the teacher answers in fp32 from here on, and trials so far learned from bf16"


@pytest.mark.parametrize(
    ("wanted", "before", "now", "said"),
    [
        ("bf16", None, "fp32", f"{OFF}: the teacher answers in fp32, though resources.teacher_precision is bf16"),
        ("bf16", None, "bf16", None),
        ("auto", None, "fp32", None),
        ("fp32", None, "fp32", None),
        ("auto", "bf16", "fp32", f"{OFF}: {FROM_HERE}"),
        ("bf16", "fp32", "fp32", None),
        ("auto", "bf16", "bf16", None),
    ],
)
def test_a_teacher_that_answers_otherwise_is_warned_about(
    wanted: str, before: Precision | None, now: Precision, said: str | None, tmp_path: Path
) -> None:
    study = parse_study(STUDY.format(wanted=wanted), "study.yaml", tmp_path)
    told: list[Event] = []
    with open_session(study, tmp_path, told.append, None, "digits", resume=False) as session:
        _warn_of_answers(session, "teacher", answering(now), answering(before) if before else None)
    assert [event.text for event in told if isinstance(event, Noted)] == ([said] if said else [])


def test_a_study_whose_teacher_has_changed_does_not_go_on(tmp_path: Path) -> None:
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path)
    own = tmp_path / "model.safetensors"
    assert not isinstance(study.teacher.model, Encoder)
    save_weights(build_model(study.teacher.model, classes=10, channels=1, image_size=(8, 8), seed=1), own)
    right, other = teacher_record(weights_hash=weights_hash(read_state(own))), teacher_record()
    with open_session(study, tmp_path, lambda event: None, None, "digits", resume=False) as session:
        copy = _own_copy(study.teacher, own, right)
        assert copy is not None
        assert _checked(session, "teacher", copy, right) == copy
        changed = _own_copy(study.teacher, own, other)
        assert changed is not None
        with pytest.raises(StudyError, match="s cannot go on: its teacher has changed"):
            _checked(session, "teacher", changed, other)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["method={name: kd}", "search.baselines=[{name: annealing, smoothing_start: 1}]"],
            "baseline annealing: stage two has no step, so the labels are never learned from",
        ),
        (["method={name: continuation, smoothing_start: 1, hard_loss_ramp: 0.5}"], "the soft loss never has a weight"),
        (["method={name: kd}", "search.baselines=[{name: none}, {name: kd, alpha: 0.5}]"], None),
    ],
)
def test_what_is_odd_about_a_method_is_told_before_any_trial(
    overrides: list[str], said: str | None, task: Task, tmp_path: Path
) -> None:
    """The study's own and its baselines."""
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path, ["training.epochs=1", *overrides])
    teacher = TeacherSpec(study.teacher, tmp_path / "model.safetensors", teacher_record())
    told: list[Event] = []
    with open_session(study, tmp_path, told.append, None, "digits", resume=False) as session:
        _look_at_plans(session, task, WorkerSetting(tmp_path, teacher, KNOWN.choice))
    warnings = [event.text for event in told if isinstance(event, Noted) and event.kind == "warning"]
    assert len(warnings) == (said is not None)
    assert all(text.startswith(said or "") for text in warnings)


TAKD = STUDY + "assistant: {{model: {{family: cifar_resnet}}}}\nmethod: {{name: takd}}\n"


def test_a_teacher_is_asked_for_first_and_then_the_assistant_that_it_teaches(task: Task, tmp_path: Path) -> None:
    """Each is written down, and then warned about."""
    study = parse_study(TAKD.format(wanted="bf16"), "study.yaml", tmp_path)
    made = TeacherSpec(study.teacher, tmp_path / "model.safetensors", answering("fp32"))
    machine, told = Machine({ready_teacher: made}), list[Event]()
    with open_session(study, tmp_path, told.append, None, "digits", resume=False) as session:
        for teacher in (None, made):
            assert _ready(session, task, machine, KNOWN.choice, teacher) is made  # type: ignore[arg-type]
    place = [(path, 4, "cpu", "bf16", None) for path in (tmp_path / TEACHER, tmp_path / ASSISTANT)]
    assert machine.asked == [
        (ready_teacher, study, task, *where, teacher) for where, teacher in zip(place, (None, made), strict=True)
    ]
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["TeacherReady", "Noted", "AssistantReady", "Noted"]
    assert [event.text for event in told if isinstance(event, Noted)] == [
        f"{OFF}: the {role} answers in fp32, though resources.teacher_precision is bf16"
        for role in ("teacher", "assistant")
    ]


@pytest.mark.parametrize(("threads", "cores", "expected"), [(8, 2, 2), (1, 4, 1), (2, 2, 2)])
def test_a_study_that_goes_on_with_fewer_cores_computes_on_no_more_threads(
    threads: int, cores: int, expected: int
) -> None:
    choice = PrecisionChoice(precision="bf16", channels_last=True, threads=threads, device="cpu", reason="probed")
    found = _on_cores(choice, cores)
    assert found.threads == expected
    assert (found == choice) is (threads <= cores)


KNOWN = PrecisionChosen(
    time=1.0,
    choice=PrecisionChoice(precision="bf16", channels_last=True, threads=4, device="cpu", reason="timed"),
    peaks=Peaks(fp32=4e10, bf16=8e10, copy_rate=1e10, threads=4, device="cpu"),
    parallel=2,
)
OTHER = PrecisionChosen(
    time=2.0,
    choice=PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cuda", reason="timed there"),
    peaks=Peaks(fp32=1e13, bf16=1e14, copy_rate=1e12, threads=1, device="cuda"),
    parallel=8,
    gpus=0.5,
)


class Machine:
    """Stands for Ray: says what its workers would, and keeps what they were asked."""

    worker_cpus = whole_cpus = 4
    meanwhile: Any = None

    def __init__(
        self, answers: dict[object, Any], *, parallel: int = 2, cpus: int = 4, gpus: float = 0.0, room: int = 0
    ) -> None:
        self.allocation = Allocation(parallel, cpus, gpus, "the test says so")
        self._room = room
        self.asked: list[tuple[Any, ...]] = []
        self._answers = answers

    def call(self, function: object, *args: Any) -> Any:
        self.asked.append((function, *args))
        return self._answers[function]

    def make_room(self, config: ResourceConfig, trial_memory: int | None) -> bool:
        if not self._room or trial_memory is None or config.parallel_trials is not None:
            return False
        self.allocation = replace(self.allocation, parallel=self._room // trial_memory, reason="memory says so")
        return True

    def on_every_node(self, function: object, calls: Callable[[int], list[tuple[Any, ...]]]) -> Any:
        self.asked += [(function, *args) for args in calls(2)]
        return self._answers[function]


def going_on(machine: Machine, task: Task, folder: Path, host: str = "") -> tuple[PrecisionChoice, list[Event]]:
    """The arithmetic of a study that goes on there after `KNOWN`, and what it writes down about it."""
    told: list[Event] = []
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", folder)
    before = provenance(folder)
    began = study_started(study, provenance=before.model_copy(update={"host": host or before.host}))
    with open_session(study, folder, told.append, None, "digits", resume=False) as session:
        choice = _precision(replace(session, history=History([began, KNOWN])), task, machine)  # type: ignore[arg-type]
    return choice, told


def test_on_another_machine_of_its_kind_the_peaks_are_that_ones(task: Task, tmp_path: Path) -> None:
    peaks = Peaks(fp32=9e10, bf16=9e11, copy_rate=9e10, threads=4, device="cpu")
    choice, (told,) = going_on(Machine({peaks_if_they_fit: peaks}), task, tmp_path, host="elsewhere")
    assert choice == KNOWN.choice
    assert told == KNOWN.model_copy(update={"time": told.time, "peaks": peaks})


def test_on_the_same_machine_the_arithmetic_is_known_and_nothing_is_written_down(task: Task, tmp_path: Path) -> None:
    machine = Machine({})
    assert going_on(machine, task, tmp_path) == (KNOWN.choice, [])
    assert machine.asked == []


def test_other_workers_are_written_down_and_their_peaks_are_known(task: Task, tmp_path: Path) -> None:
    machine = Machine({}, parallel=1)
    choice, (told,) = going_on(machine, task, tmp_path)
    assert isinstance(told, PrecisionChosen)
    assert choice == KNOWN.choice
    assert told == KNOWN.model_copy(update={"time": told.time, "parallel": 1})
    assert machine.asked == []


def test_on_another_device_it_is_probed_again(task: Task, tmp_path: Path) -> None:
    machine = Machine({probe_precision: (OTHER.choice, OTHER.peaks)}, parallel=8, cpus=3, gpus=0.5)
    choice, (warned, told) = going_on(machine, task, tmp_path)
    assert isinstance(warned, Noted)
    assert warned.kind == "warning"
    assert "trained on cpu in bf16, those from here on are on cuda in" in warned.text
    assert isinstance(told, PrecisionChosen)
    assert choice == OTHER.choice
    assert told == OTHER.model_copy(update={"time": told.time})
    ((function, _, given, *place),) = machine.asked
    assert function is probe_precision
    assert given is task
    assert place == [3, "cuda"]


def test_with_fewer_cores_the_peaks_are_measured_again(task: Task, tmp_path: Path) -> None:
    peaks = Peaks(fp32=2e10, bf16=4e10, copy_rate=1e10, threads=2, device="cpu")
    machine = Machine({peaks_if_they_fit: peaks}, cpus=2)
    choice, (told,) = going_on(machine, task, tmp_path)
    assert isinstance(told, PrecisionChosen)
    assert (choice.precision, choice.threads) == ("bf16", 2)
    assert told == KNOWN.model_copy(update={"time": told.time, "choice": choice, "peaks": peaks})
    assert machine.asked == [(peaks_if_they_fit, 2, "cpu")]


def test_fewer_workers_for_want_of_memory_are_told_and_written_down(task: Task, tmp_path: Path) -> None:
    taking = OTHER.choice.model_copy(update={"device": "cpu", "memory": 100})
    machine, told = Machine({probe_precision: (taking, OTHER.peaks)}, parallel=16, room=350), list[Event]()
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path)
    with open_session(study, tmp_path, told.append, None, "digits", resume=False) as session:
        _precision(session, task, machine)  # type: ignore[arg-type]
    noted, chosen = told
    assert isinstance(noted, Noted)
    assert (noted.kind, noted.text) == ("choice", "memory says so")
    assert isinstance(chosen, PrecisionChosen)
    assert (chosen.parallel, chosen.choice.memory) == (3, 100)


def bank(**found: Any) -> BankRecord:
    values = {"hits": 0, "misses": 0, "checked": 0, "max_difference": 0.0}
    return BankRecord.model_validate({"key": "k", "entries": 20, "filled": 20, "seconds": 1.0, **values, **found})


def test_the_bank_of_several_nodes_is_as_good_as_the_worst_and_costs_what_all_do(task: Task, tmp_path: Path) -> None:
    filled = [
        bank(misses=5, hits=2, work=Work(flop=3.0, bytes=7.0)),
        bank(misses=0, hits=4, work=None),
        bank(misses=6, hits=1, work=Work(flop=4.0, bytes=9.0)),
    ]
    checked = [bank(filled=12, checked=6, max_difference=0.25), bank(filled=11, checked=8, max_difference=0.5)]
    machine = Machine({fill_bank: filled, check_bank: checked})
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path)
    teacher = TeacherSpec(study.teacher, tmp_path / "model.safetensors", teacher_record())
    with open_session(study, tmp_path, ignore, None, "digits", resume=False) as session:
        found = _fill_bank(session, task, teacher, machine)  # type: ignore[arg-type]
    assert (found.key, found.entries, found.filled, found.checked, found.max_difference) == ("k", 20, 11, 6, 0.5)
    assert (found.hits, found.misses, found.work) == (7, 11, Work(flop=7.0, bytes=16.0))
    assert 0 <= found.seconds < 1
    assert [function for function, *_ in machine.asked] == [fill_bank, fill_bank, check_bank]
    epochs = study.training.epochs
    assert [arguments[-3:] for arguments in machine.asked[:2]] == [(epochs, 0, 2), (epochs, 1, 2)]
