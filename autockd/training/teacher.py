"""Teachers: given by their weights, or trained once for each recipe and task and then reused; assistants too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from autockd.config.methods import MethodConfig, NoDistillation
from autockd.config.models import Encoder, ModelConfig
from autockd.config.schema import AssistantConfig, TeacherConfig
from autockd.config.trial import TrialConfig
from autockd.data.task import Task
from autockd.errors import ConfigError, EnvironmentProblem, StudyError, TrialFailed, cannot_write, reason_of
from autockd.folders import ANOTHER_CACHE, cache_folder, write_whole
from autockd.hashing import content_hash
from autockd.models import (
    ENCODER_WEIGHTS,
    TextEncoder,
    count_parameters,
    load_tokenizer,
    load_weights,
    reading_hash,
    save_encoder,
    save_weights,
    weights_hash,
)
from autockd.records import Precision, PrecisionChoice, TeacherRecord
from autockd.tracking.locks import FileLock
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.checkpoint import load_checkpoint, save_checkpoint
from autockd.training.evaluation import evaluate
from autockd.training.live_teacher import ANSWERS, LiveTeacher
from autockd.training.memory import is_out_of_memory
from autockd.training.networks import based_on, build_network, kept_model, make_feed
from autockd.training.trainer import Trainer

Tell = Callable[[str], None]

CHECKPOINT_EVERY = 60.0
"""Seconds between two checkpoints of a teacher in training."""

COMPARED = 64
"""Training samples on which bf16 is compared with fp32."""

CLOSE_ENOUGH = 0.05
"""Largest difference of logits in bf16, relative to the largest in fp32, with which a teacher may answer so."""


@dataclass(frozen=True)
class TeacherSpec:
    """All that a worker needs to bring a teacher to life."""

    config: TeacherConfig
    weights: Path
    """A safetensors file that every node can read."""
    record: TeacherRecord

    @property
    def folder(self) -> Path:
        """Where its weights are; of an encoder, all that `from_pretrained` needs."""
        return self.weights.parent

    @property
    def identity(self) -> str:
        """Hash of all that its answers depend on but for the samples: its weights, and its shape and how it reads."""
        return content_hash([_shape(self.config.model, self.record.reading), self.record.weights_hash])

    def load(self, task: Task, device: torch.device, threads: int = 1) -> LiveTeacher:
        """The teacher with its weights, ready to answer; for so many batches side by side, on a CPU."""
        model = build_network(self.config.model, task, seed=self.config.seed)
        load_weights(model, self.weights)
        return LiveTeacher(self.config.model, model, task, device, self.record.answers, threads)

    def bank(
        self,
        task: Task,
        device: torch.device,
        threads: int = 1,
        before_answers: Callable[[], None] | None = None,
    ) -> TeacherBank:
        """This node's bank of its answers to a task; the rest as of `load` and `TeacherBank`."""
        identity = BankIdentity.of(self.identity, task, self.record.answers)
        live = partial(self.load, task, device, threads)
        return TeacherBank(cache_folder() / "banks", identity, live, before_answers=before_answers)


def prepare_teacher(
    config: TeacherConfig,
    task: Task,
    *,
    choose: Callable[[], PrecisionChoice],
    answers: Precision = "fp32",
    insisted: Precision | None = None,
    with_moment: bool = True,
    device: torch.device,
    threads: int = 1,
    cache: Path,
    target: Path,
    expected: str | None = None,
    tell: Tell = lambda text: None,
    teacher: TeacherSpec | None = None,
    cuda_graphs: bool = False,
) -> TeacherSpec:
    """Load the given teacher, or train it unless the cache has it; evaluate it; put its weights at `target`.

    Args:
        config: the teacher; weights in its model make it a given one.
        task: what it is trained and evaluated on.
        choose: decides the arithmetic of its training; asked only if it must be trained.
        answers: arithmetic in which it is to answer; it is fp32 where bf16 comes not close enough.
        insisted: arithmetic that it must have been trained in; with None any will do that the cache has.
        with_moment: whether its second moment is wanted, for which it answers for each training sample.
        device: where it is evaluated.
        threads: batches that it answers for side by side, on a CPU.
        cache: folder of trained teachers, named by content.
        target: where the study keeps its own copy, as safetensors.
        expected: hash of the weights that a study which goes on has learned from; others are not kept.
        tell: is told, in some words, after every epoch of its training, and what it waits for.
        teacher: of an assistant, the one that it learns from; an encoder without a base is cut from that one.
        cuda_graphs: whether the steps of its training on a GPU are captured and replayed.

    Raises:
        ModelError, ConfigError: the architecture or the weights are not usable; its training diverged.
        StudyError, EnvironmentProblem: the weights are not the expected ones; the cache cannot be written.
    """
    began, base = time.perf_counter(), teacher.folder if teacher else None
    recipe, config = config, config.model_copy(update={"model": based_on(config.model, base)})
    model = build_network(config.model, task, seed=config.seed)
    reading = _reading(config.model, model)
    origin: Literal["given", "trained", "cached"] = "given"
    precision = None
    if config.model.weights is None:
        weights = cache / f"{_address(recipe, task, model, reading, teacher, insisted)}.safetensors"
        precision = None if weights.exists() else choose()
        if precision is not None and not _train(recipe, task, precision, weights, tell, teacher, cuda_graphs):
            precision = None
        origin = "trained" if precision is not None else "cached"
        load_weights(model, weights)
    kept = _keep(model, config, target, expected, "assistant" if teacher else "teacher")
    name = [ANSWERS, _shape(config.model, reading), kept["weights_hash"], task.fingerprint, answers]
    live = LiveTeacher(config.model, model, task, device, threads=threads)
    known = _known(live, cache / f"{content_hash(name)[:32]}.answers.json", answers, with_moment=with_moment)
    found = {**kept, **known, "reading": reading, "origin": origin, "precision": precision}
    record = TeacherRecord(**found, seconds=time.perf_counter() - began)
    own = kept_model(config.model, target.parent)  # what was given may move; the study has its own copy now
    return TeacherSpec(config.model_copy(update={"model": own}), target, record)


def changed_text(role: str, before: str, now: str) -> str:
    """Why a study cannot go on with weights of another hash."""
    return (
        f"its {role} has changed. Trials so far learned from weights {before[:12]}, and these are {now[:12]}; put them "
        "back, or start a new study"
    )


def _known(plain: LiveTeacher, kept: Path, wanted: Precision, *, with_moment: bool) -> dict[str, Any]:
    """What its record says of its answers, from a file where that is known for these weights and this data.

    Args:
        plain: the teacher, answering in fp32.
        kept: the file.
        wanted: arithmetic in which it is to answer.
        with_moment: whether its second moment is wanted.
    """
    with suppress(OSError, ValidationError):
        found = _Known.model_validate_json(kept.read_bytes())
        if found.second_moment is not None or not with_moment:
            return vars(found)
    live, difference = plain, 0.0
    if wanted != "fp32":
        live = replace(plain, precision=wanted)
        difference = live.difference(plain, COMPARED)
        if not difference <= CLOSE_ENOUGH:
            live = plain
    model, task, split = plain.model.to(plain.device), plain.task, plain.task.validation
    feed = make_feed(plain.config, task, split, plain.device, channels_last=True)
    known = _Known(
        metric=evaluate(model, feed, split.targets, task.metric, threads=plain.threads),
        second_moment=live.second_moment() if with_moment else None,
        answers=live.precision,
        answers_difference=difference,
    )
    with suppress(OSError):  # it is then computed again, the next time
        write_whole(kept, known.model_dump_json())
    return vars(known)


class _Known(BaseModel):
    """What is kept of a teacher's answers, as in its record."""

    metric: float
    second_moment: float | None
    answers: Precision
    answers_difference: float


def _shape(config: ModelConfig, reading: str) -> Any:
    """What says, beside its weights, how a network answers: how it reads texts, or its architecture."""
    return reading or config.model_dump(mode="json", exclude={"weights"})


def _reading(config: ModelConfig, network: nn.Module) -> str:
    """Hash of an encoder's configuration and tokenizer, which its folder has beside its weights; empty for images."""
    if not isinstance(config, Encoder):
        return ""
    assert isinstance(network, TextEncoder), "an encoder's configuration makes a text encoder"
    return reading_hash(network, load_tokenizer(config))


def _address(
    config: TeacherConfig,
    task: Task,
    fresh: nn.Module,
    reading: str,
    teacher: TeacherSpec | None,
    insisted: Precision | None,
) -> str:
    """Name of a trained teacher: its recipe, what and whom it learned from and, where it began with weights, these."""
    parts = [config.model_dump(mode="json"), task.fingerprint]
    if isinstance(config.model, Encoder):  # a folder's content may change while its path stays
        parts += [weights_hash(fresh.state_dict()), reading]
    if teacher is not None:
        parts.append(teacher.identity)
    if insisted is not None:
        parts.append(insisted)
    return content_hash(parts)[:32]


def _keep(model: nn.Module, config: TeacherConfig, target: Path, expected: str | None, role: str) -> dict[str, Any]:
    """Put the weights at `target`; an encoder's configuration and tokenizer beside them, for students cut from it.

    Returns:
        What its record says of them.

    Raises:
        StudyError: their hash is not the expected one; what stands at `target` is left alone.
    """
    found = weights_hash(model.state_dict())
    if expected is not None and found != expected:
        raise StudyError(f"the study cannot go on: {changed_text(role, expected, found)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(config.model, Encoder):
        assert isinstance(model, TextEncoder), "an encoder's configuration makes a text encoder"
        assert target.name == ENCODER_WEIGHTS, "transformers looks for that name"
        save_encoder(model, target.parent, load_tokenizer(config.model))
    else:
        save_weights(model, target)
    place = {"weights_path": str(target), "bytes": target.stat().st_size}
    return {"weights_hash": found, "parameters": count_parameters(model), **place}


def _train(
    config: TeacherConfig,
    task: Task,
    precision: PrecisionChoice,
    weights: Path,
    tell: Tell,
    teacher: TeacherSpec | None,
    cuda_graphs: bool,
) -> bool:
    """Train the teacher and leave its best weights in the cache; goes on from its checkpoint after a stop.

    Returns:
        Whether it has; False where another study of this machine trained the same one meanwhile.
    """
    role = "assistant" if teacher else "teacher"
    with _alone(weights, tell):
        if weights.exists():
            return False
        trainer = _trainer(config, task, precision, teacher, cuda_graphs)
        checkpoint = weights.with_suffix(".checkpoint")
        if state := load_checkpoint(checkpoint):
            trainer.load_state_dict(state)
        saved = time.monotonic()
        try:
            for record in trainer.fit():
                is_crowded = trainer.cores is not None and trainer.cores.is_crowded
                slowly = ", on one thread since other work has the cores" if is_crowded else ""
                tell(f"epoch {record.epoch} of {config.training.epochs}, validation {record.metric:.4f}{slowly}")
                if time.monotonic() - saved > CHECKPOINT_EVERY:
                    save_checkpoint(checkpoint, trainer.state_dict())
                    saved = time.monotonic()
        except TrialFailed as error:
            raise ConfigError([error.as_problem(f"{role}.training")]) from error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            said = f"out of memory while the {role} is trained ({reason_of(error)})"
            raise EnvironmentProblem(f"{said} -> lower {role}.training.batch_size, or take a smaller one") from error
        save_weights(trainer.best_weights, weights)
        checkpoint.unlink(missing_ok=True)
    return True


@contextmanager
def _alone(weights: Path, tell: Tell) -> Iterator[None]:
    """Wait while another study trains the same teacher, which would be done twice, and into one checkpoint."""
    lock = FileLock(weights.with_suffix(".lock"))
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        if not lock.acquire():
            tell(f"waiting for {lock.owner}, which trains the same one")
            lock.acquire(patience=math.inf)
    except OSError as error:
        raise cannot_write("trained teachers", weights.parent, error, instead=ANOTHER_CACHE) from error
    try:
        yield
    finally:
        lock.release()


def _trainer(
    config: TeacherConfig, task: Task, precision: PrecisionChoice, teacher: TeacherSpec | None, cuda_graphs: bool
) -> Trainer:
    """Trains a teacher on labels alone, an assistant as its own method says."""
    method: MethodConfig = NoDistillation()
    if teacher is not None:
        assert isinstance(config, AssistantConfig), "an assistant alone has a teacher"
        method = config.method
    trial = TrialConfig(method=method, training=config.training, student=config.model, seed=config.seed)
    device = torch.device(precision.device)
    is_captured = cuda_graphs and device.type == "cuda"
    if teacher is None:
        return Trainer(trial, task, precision, cuda_graphs=is_captured)
    bank, moment = teacher.bank(task, device), teacher.record.second_moment
    # Its folder is no part of the trial: another study has it elsewhere, and goes on from the same checkpoint.
    return Trainer(
        trial, task, precision, bank=bank, second_moment=moment, base=teacher.folder, cuda_graphs=is_captured
    )
