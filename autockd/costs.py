"""What a student costs: parameters, bytes, and the latency of a call in onnxruntime, measured once an architecture.

A latency depends on the architecture alone, so all trials of one share one number: a search is not led by noise, and a
study that goes on meets the numbers it had.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autockd.config.arms import arms_of
from autockd.config.models import bare
from autockd.config.objective_rules import architecture_points
from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig, trial_config
from autockd.data import Task, Texts
from autockd.export.latency import onnx_timings
from autockd.export.student import Student
from autockd.export.texts import TextStudent
from autockd.exporting import student_of
from autockd.folders import draft_of
from autockd.hashing import content_hash
from autockd.models import Tokens, load_weights
from autockd.processor import cpu_model
from autockd.provenance import provenance
from autockd.records import Record
from autockd.training.networks import based_on, build_network

FOLDER = "costs"
"""In a study's folder: a file for each architecture, with its latency."""

BATCH_SIZES: Mapping[str, int] = {"latency_ms": 1, "latency_ms_batch32": 32}
"""The objectives that are latencies, and the samples of a call."""

MOST_BEFORE = 32
"""Students of a space that are measured before its search; in a larger space each is when its first trial ends."""


class Latency(Record):
    """How long a call of one architecture takes, and how that was measured."""

    milliseconds: dict[str, float]
    """Median of a call, by the names of objectives."""
    samples: str
    """What a call was given, such as `images of 1x8x8`."""
    runtime: str
    """Such as `onnxruntime 1.32.0, fp32, median of up to 100 calls on one thread`."""
    machine: str
    """CPU and host."""

    @property
    def how(self) -> str:
        """All but the numbers."""
        return f"{self.runtime} of {self.machine}, with {self.samples}"


@dataclass(frozen=True)
class CostMeter:
    """Measures students where they were trained; travels to workers.

    Attributes:
        objectives: names of the costs.
        folder: where latencies are kept; every node can reach it.
        teacher: folder of the study's teacher, which a student may be cut from.
    """

    objectives: tuple[str, ...]
    folder: Path
    teacher: Path

    def __call__(self, trial: TrialConfig, task: Task, weights: Path, parameters: int) -> dict[str, float]:
        """The costs of a trained student, by name.

        Args:
            trial: the student's trial.
            task: the study's task.
            weights: its safetensors file.
            parameters: how many it has.

        Raises:
            ExportError: it cannot be exported as ONNX, or does not run.
        """
        costs: dict[str, float] = {"parameters": parameters, "bytes": weights.stat().st_size}
        if self.measures_latency:
            costs |= self.latency(trial, task, weights).milliseconds
        return {name: costs[name] for name in self.objectives}

    @property
    def measures_latency(self) -> bool:
        """Whether any of the costs is one."""
        return not BATCH_SIZES.keys().isdisjoint(self.objectives)

    def latency(self, trial: TrialConfig, task: Task, weights: Path | None = None) -> Latency:
        """What is known of an architecture's latency; measured if nothing is. Whoever is first has the say.

        Args:
            trial: a trial with such a student.
            task: the study's task.
            weights: the student's; None takes fresh ones, which take as long.

        Raises:
            ExportError: it cannot be exported as ONNX, or does not run.
        """
        path = self._path(trial)
        if not path.exists():
            model = self._network(trial, task)
            if weights is not None:
                load_weights(model, weights)
            _write_once(path, measure_latency(self._student(trial, task, model), task).model_dump_json(indent=2))
        return Latency.model_validate_json(path.read_text(encoding="utf-8"))

    def knows(self, trial: TrialConfig) -> bool:
        """Whether the latency of such a student is known."""
        return self._path(trial).exists()

    def _path(self, trial: TrialConfig) -> Path:
        return self.folder / f"{content_hash(bare(trial.student).model_dump(mode='json'))[:16]}.json"

    def _network(self, trial: TrialConfig, task: Task) -> nn.Module:
        return build_network(based_on(bare(trial.student), self.teacher), task, seed=trial.seed).eval()

    def _student(self, trial: TrialConfig, task: Task, model: nn.Module) -> Student:
        description: dict[str, Any] = {
            "architecture": trial.student,
            "classes": task.classes,
            "metric": task.metric,
            "direction": task.direction,
            "study": "",
            "method": trial.method.name,
            "provenance": provenance(),
        }
        return student_of(based_on(trial.student, self.teacher), model, task, description)


def known_architectures(study: StudyConfig) -> list[TrialConfig]:
    """A trial for each student that a search may propose; for the study's own alone where there are too many."""
    points = architecture_points(study, MOST_BEFORE)
    first = arms_of(study)[0].study  # the method changes no architecture, and each compared one has its own values
    return [trial_config(first, point) for point in [{}, *(points or ())]]


def measure_all(meter: CostMeter, trials: Sequence[TrialConfig], task: Task) -> list[Latency]:
    """The latency of each student, one after the other."""
    return [meter.latency(trial, task) for trial in trials]


def measure_latency(student: Student, task: Task) -> Latency:
    """Export a student in fp32 and time its calls on validation samples."""
    import onnxruntime

    student = student.copied()
    batches, samples = _batches(student, task)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        two = task.validation.take(torch.arange(2) % len(task.validation))
        student.save_onnx(path, two.inputs)
        [found] = onnx_timings([path], batches)
    return Latency(
        milliseconds={name: found[size].median for name, size in BATCH_SIZES.items()},
        samples=samples,
        runtime=f"onnxruntime {onnxruntime.__version__}, fp32, median of up to 100 calls on one thread",
        machine=f"{cpu_model()} ({socket.gethostname()})",
    )


def _batches(student: Student, task: Task) -> tuple[dict[int, dict[str, Any]], str]:
    """Inputs of the model by batch size, as arrays by name, and what they are.

    Texts are those of medium length in the validation split. A split with fewer samples than a batch gives some again.
    """
    inputs = task.validation.inputs
    if isinstance(inputs, Texts):
        assert isinstance(student, TextStudent), "a text task has students that read"
        return _text_batches(Tokens.of(student.tokenizer, inputs.columns, student.config.max_length))
    rows = {size: torch.arange(size) % len(inputs) for size in BATCH_SIZES.values()}
    shape = "x".join(map(str, inputs.shape[1:]))
    return {size: student.feed(inputs[some]) for size, some in rows.items()}, f"images of {shape}"


def _text_batches(tokens: Tokens) -> tuple[dict[int, dict[str, Any]], str]:
    by_length = tokens.lengths.argsort(stable=True)
    middle = len(tokens) // 2
    batches = {}
    for size in BATCH_SIZES.values():
        around = by_length[max(0, middle - size // 2) :]
        batch = tokens.batch(around[torch.arange(size) % len(around)], multiple=1)
        batches[size] = {name: part.numpy() for name, part in batch.items()}
    lengths = " and ".join(f"{batch['input_ids'].shape[1]} in a batch of {size}" for size, batch in batches.items())
    return batches, f"texts of medium length: tokens are {lengths}"


def _write_once(path: Path, text: str) -> None:
    """Write a whole file, unless one is there: of two at a time, the first stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    draft.write_text(text, encoding="utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links
        if not path.exists():
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
