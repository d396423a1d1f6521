"""What a study does around its search, as functions that need torch alone and run on any worker."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from autockd.config.arms import arms_of
from autockd.config.kinds import uses_margin
from autockd.config.models import ModelConfig, bare
from autockd.config.schema import StudyConfig
from autockd.config.training import TrainingConfig, trims_vocabulary
from autockd.config.trial import largest_training
from autockd.data.feeds import Feed, NetworkInput
from autockd.data.metrics import METRICS
from autockd.data.order import EpochOrder
from autockd.data.task import HeldOut, ImageTask, Split, Task
from autockd.errors import ConfigError, EnvironmentProblem, ModelError, TrialFailed
from autockd.folders import cache_folder, write_whole
from autockd.limits import Peaks
from autockd.models import count_parameters, load_weights
from autockd.models.vocabulary import Vocabulary
from autockd.processor import memory
from autockd.records import BankRecord, Diagnosis, Precision, PrecisionChoice, SubjectKind
from autockd.training.bank import TeacherBank
from autockd.training.batches import largest_batch, typical_batch
from autockd.training.diagnosis import diagnose
from autockd.training.evaluation import predict
from autockd.training.memory import if_it_fits
from autockd.training.networks import (
    based_on,
    build_network,
    cut_from_teacher,
    make_feed,
    student_model,
    trim_network,
)
from autockd.training.peaks import computes_on, peaks_if_they_fit
from autockd.training.precision import Wanted, choose_precision, fixed_precision, training_memory
from autockd.training.probes import remembered
from autockd.training.teacher import TeacherSpec, prepare_teacher

CHECKED_ENTRIES = 256
"""Bank entries that are compared with the live teacher before a search."""


@dataclass(frozen=True)
class Subject:
    """A final model: what it is, and where its weights are."""

    label: str
    trial: int | None
    model: ModelConfig
    weights: Path
    seed: int | None = None
    """The fresh seed of a finalist's run."""
    validation: float | None = None
    """Its metric on the validation split, where that is known."""
    kind: SubjectKind = "baseline"


@dataclass(frozen=True)
class Score:
    """A subject's metrics on both splits."""

    validation: float
    test: float
    others: dict[str, float]
    parameters: int
    bytes: int
    diagnosis: Diagnosis | None
    """None for a regression."""


def probe_precision(study: StudyConfig, task: Task, threads: int, device: str) -> tuple[PrecisionChoice, Peaks | None]:
    """The arithmetic for all trials, from timing the study's own student; and the most that a worker can do, if known.

    Raises:
        EnvironmentProblem: Ray counts a GPU that torch cannot use.
        ConfigError: steps are to be captured as CUDA graphs, and cannot be.
    """
    if device == "cuda" and not (torch.cuda.is_available() and computes_on(torch.device(device))):
        raise EnvironmentProblem(
            f"resources.gpus_per_trial: Ray has GPUs that torch {torch.__version__} on {platform.node()} cannot use -> "
            "install a torch that can, or set it to 0"
        )
    wanted = study.resources.precision
    cuda_graphs, place = _are_captured(study, task, device), torch.device(device)
    is_bounded = device == "cpu" and study.resources.parallel_trials is None  # by memory
    largest = _largest_training(study) if is_bounded else None
    choice = _probe(student_model(study), study.training, task, wanted, threads, place, cuda_graphs, largest=largest)
    return choice, peaks_if_they_fit(choice.threads, device)


def ready_teacher(
    study: StudyConfig,
    task: Task,
    target: Path,
    threads: int,
    device: str,
    answers: Precision,
    expected: str | None = None,
    teacher: TeacherSpec | None = None,
) -> TeacherSpec:
    """The study's teacher, or the assistant that `teacher` teaches, trained on up to `threads` cores if need be.

    The rest is as in `prepare_teacher`.
    """
    config = study.teacher if teacher is None else study.assistant
    assert config is not None, "a study whose methods need an assistant has one"
    model = config.model if teacher is None else based_on(config.model, teacher.folder)
    place, wanted = torch.device(device), study.resources.precision
    cuda_graphs = _are_captured(study, task, device)

    def choose() -> PrecisionChoice:
        return _probe(model, config.training, task, wanted, threads, place, cuda_graphs)

    progress = teacher_progress(target)

    def tell(text: str) -> None:
        with suppress(OSError):  # whoever shows it shows nothing then
            write_whole(progress, text)

    try:
        return prepare_teacher(
            config,
            task,
            choose=choose,
            answers=answers,
            insisted=None if wanted == "auto" else wanted,
            with_moment=uses_margin(study),
            device=place,
            threads=threads,
            cache=cache_folder() / "teachers",
            target=target,
            expected=expected,
            tell=tell,
            teacher=teacher,
            cuda_graphs=cuda_graphs,
        )
    finally:
        progress.unlink(missing_ok=True)


def check_student(study: StudyConfig, teacher: TeacherSpec, task: Task) -> None:
    """Build the study's student as trials on this node will: what it starts from may lie elsewhere alone.

    Raises:
        EnvironmentProblem: it cannot be built here.
    """
    try:
        build_network(based_on(study.student.model, teacher.folder), task, seed=0)
    except ModelError as error:
        raise EnvironmentProblem(f"node {platform.node()} cannot build the student: {error}") from error


def teacher_progress(target: Path) -> Path:
    """The file in which whoever trains a teacher says how far it is, for a driver elsewhere to show."""
    return target.with_name("progress.txt")


def longest_run(study: StudyConfig) -> int:
    """Most epochs that a trial of the study may have."""
    epochs = study.search.space.get("epochs")
    searched = epochs.corners if epochs is not None else ()
    return max([study.training.epochs, *(int(value) for value in searched)])


def fill_bank(
    teacher: TeacherSpec, task: Task, device: str, threads: int, epochs: int, shard: int, shards: int
) -> BankRecord:
    """Compute the teacher's logits of the views that runs of up to `epochs` epochs will see: one share of them."""
    began = time.perf_counter()
    bank = teacher.bank(task, torch.device(device), threads)
    is_seen = torch.zeros(len(task.train) * task.views.count, dtype=torch.bool)
    for epoch in range(1, epochs + 1):
        order = EpochOrder.of(task, epoch)
        is_seen[order.indices * task.views.count + order.views] = True
    share = torch.tensor_split(is_seen.nonzero()[:, 0], shards)[shard]
    wanted = (share // task.views.count, share % task.views.count)
    with bank.alone(shard, shards):
        done = bank.fill(*wanted)
    record = _bank_record(bank, done, len(share) - done, time.perf_counter() - began)
    return record.model_copy(update={"work": bank.work(done) if done else None})


def check_bank(teacher: TeacherSpec, task: Task, device: str, threads: int, seed: int) -> BankRecord:
    """Compare some of the bank's entries with the live teacher."""
    began = time.perf_counter()
    bank = teacher.bank(task, torch.device(device), threads)
    checked, difference = bank.check(CHECKED_ENTRIES, seed)
    record = _bank_record(bank, 0, 0, time.perf_counter() - began)
    return record.model_copy(update={"checked": checked, "max_difference": difference})


def score(
    subjects: list[Subject], teacher: Subject, task: Task, held_out: HeldOut, device: str, threads: int
) -> list[Score]:
    """The metrics of final models on the validation and the test split, whose labels nothing has used before.

    Args:
        subjects: what to score.
        teacher: theirs, whom classifiers are compared with.
        task: with the validation split.
        held_out: the test split.
        device: where to compute.
        threads: cores, on a CPU.
    """
    place = torch.device(device)

    def answers(subject: Subject, model: nn.Module, split: Split) -> Tensor:
        return predict(model, make_feed(subject.model, task, split, place, channels_last=True), threads=threads)

    @cache
    def taught() -> tuple[nn.Module, Tensor]:
        """The teacher and its answers; who scores regressions alone may not need it."""
        model = _loaded(teacher, task, place)
        return model, answers(teacher, model, held_out.split)

    def score_one(subject: Subject) -> Score:
        if subject == teacher:
            model, test = taught()
        else:
            model = _loaded(subject, task, place)
            test = answers(subject, model, held_out.split)

        def metric(split: Split) -> float:
            return METRICS[task.metric].compute(answers(subject, model, split), split.targets)

        return Score(
            validation=metric(task.validation) if subject.validation is None else subject.validation,
            test=METRICS[task.metric].compute(test, held_out.split.targets),
            others={name: metric(split) for name, split in held_out.others.items()},
            parameters=count_parameters(model),
            bytes=subject.weights.stat().st_size,
            diagnosis=diagnose(test, held_out.split.targets, taught()[1]) if task.classes else None,
        )

    return [score_one(subject) for subject in subjects]


def _loaded(subject: Subject, task: Task, device: torch.device) -> nn.Module:
    model = build_network(bare(subject.model), task, seed=0)
    load_weights(model, subject.weights)
    return model.to(device).to(memory_format=torch.channels_last)


def _largest_training(study: StudyConfig) -> tuple[ModelConfig, TrainingConfig]:
    student, training = largest_training(arms_of(study)[0].study)  # of compared methods all propose the same
    return cut_from_teacher(bare(student), study), training


def _are_captured(study: StudyConfig, task: Task, device: str) -> bool:
    """Whether training steps are captured as CUDA graphs: those on images alone can be, which are of one shape."""
    return study.resources.cuda_graphs and device == "cuda" and isinstance(task, ImageTask)


def _probe(
    model: ModelConfig,
    training: TrainingConfig,
    task: Task,
    wanted: Wanted,
    threads: int,
    device: torch.device,
    cuda_graphs: bool = False,
    *,
    largest: tuple[ModelConfig, TrainingConfig] | None = None,
) -> PrecisionChoice:
    """The arithmetic that is wanted, or the quickest; with the memory of the largest training, where it is given."""
    fixed = None if wanted == "auto" else fixed_precision(wanted, threads, device)
    if fixed is not None and largest is None:
        return fixed

    def probe() -> tuple[PrecisionChoice, bool]:
        if fixed is not None:
            return _with_memory(fixed, largest, task)
        vocabulary = _network(model, training, task)[1] if trims_vocabulary(model, training) else None
        choice, lasts = choose_precision(
            lambda: _network(model, training, task)[0],
            _batch(model, training, task, device, vocabulary, typical_batch)[1],
            training,
            threads=threads,
            device=device,
            cuda_graphs=cuda_graphs,
        )
        choice, is_known = _with_memory(choice, largest, task)
        return choice, lasts and is_known

    what = [bare(model).model_dump(mode="json"), training.model_dump(mode="json"), task.fingerprint]
    what += ["recorded"] if cuda_graphs else []
    what += [part.model_dump(mode="json") for part in largest or ()]
    what += [wanted] if fixed is not None else []
    try:
        found = remembered(probe, what, threads, device, cache_folder() / "probes")
    except TrialFailed as error:
        raise ConfigError([error.as_problem("resources.cuda_graphs")]) from error
    return found if fixed is None else fixed.model_copy(update={"memory": found.memory})


def _with_memory(
    choice: PrecisionChoice, largest: tuple[ModelConfig, TrainingConfig] | None, task: Task
) -> tuple[PrecisionChoice, bool]:
    """The choice, with what the largest training takes on a CPU, where it is given; and whether that is known.

    Where not even one fits, just now, it is said to take all that there is: then trials run one at a time.
    """
    if largest is None:
        return choice, True
    model, training = largest
    network, vocabulary = _network(model, training, task)
    read = partial(_batch, model, training, task, torch.device("cpu"), vocabulary, largest_batch)
    found = if_it_fits(lambda: (training_memory(network, read, training, choice),))
    if found is not None:
        return choice.model_copy(update={"memory": found[0]}), True
    there = memory()
    return choice.model_copy(update={"memory": there[0] if there else None}), False


def _network(model: ModelConfig, training: TrainingConfig, task: Task) -> tuple[nn.Module, Vocabulary | None]:
    """A fresh network as it is trained, and its vocabulary, where that is trimmed."""
    network = build_network(bare(model), task, seed=0)
    return network, trim_network(network, model, training, task)


def _batch(
    model: ModelConfig,
    training: TrainingConfig,
    task: Task,
    device: torch.device,
    vocabulary: Vocabulary | None,
    find: Callable[[Feed, EpochOrder, int], EpochOrder],
) -> tuple[Feed, NetworkInput]:
    """The training samples as a network with this vocabulary takes them, and a batch of the first epoch."""
    feed = make_feed(model, task, task.train, device, augmented=True, vocabulary=vocabulary)
    order = feed.arrange(EpochOrder.of(task, 1), training.batch_size)
    batch = find(feed, order, training.batch_size)
    return feed, feed.read(batch.indices, batch.views)


def _bank_record(bank: TeacherBank, misses: int, hits: int, seconds: float) -> BankRecord:
    identity = bank.identity
    return BankRecord(
        key=identity.key,
        entries=identity.samples * identity.views,
        filled=bank.filled,
        hits=hits,
        misses=misses,
        seconds=seconds,
        checked=0,
        max_difference=0.0,
    )
