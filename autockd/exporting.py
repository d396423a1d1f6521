"""From a trial of a study to a bundle, and from a bundle back to its metric."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from autockd.config.models import Encoder, ModelConfig, bare
from autockd.config.schema import StudyConfig
from autockd.config.tasks import Digits, TaskConfig, Text, Torchvision, can_only_be_local, is_on_hub
from autockd.config.trial import TrialConfig
from autockd.data import HeldOut, ImageTask, Split, Task, Texts, TextTask, load_task
from autockd.describing import describe_origin
from autockd.errors import DataError, ExportError, StudyError, UsageError
from autockd.export import (
    Bundle,
    ImageBundleConfig,
    ImageStudent,
    Student,
    TextBundleConfig,
    TextStudent,
    evaluate_bundle,
    load_bundle,
    write_bundle,
)
from autockd.export.description import Preprocessing, SeedSummary
from autockd.export.evaluation import Evaluation, RuntimeName
from autockd.folders import LEDGER, expanded, study_argument
from autockd.history import History
from autockd.models import TextEncoder, load_tokenizer, load_weights
from autockd.provenance import provenance
from autockd.records import Evaluated, Exported, FinalistFinished, TrialStarted
from autockd.report.finalists import winning_run
from autockd.report.picking import picked_row
from autockd.summary import StudySummary, TrialRow
from autockd.surroundings import plain_tensors
from autockd.tracking import events
from autockd.training.networks import based_on, build_network
from autockd.verdicts import finalists_of, mean_and_deviation


@plain_tensors()
def export_trial(
    config: StudyConfig,
    folder: Path,
    row: TrialRow,
    summary: StudySummary,
    task: Task,
    held_out: HeldOut,
    *,
    run: FinalistFinished | None,
    to: Path,
    onnx: bool,
    int8: bool,
    force: bool,
    warn: Callable[[str], None],
) -> Exported:
    """Write one trial's student, or that of its run with a fresh seed, as a bundle and prove that it gives the same.

    With a fresh seed, and without, it says what metrics it has itself; if the trial is a finalist, also what its
    configuration has over all fresh seeds.

    Args:
        config: the study.
        folder: its folder.
        row: the trial.
        summary: of the study.
        task: its data.
        held_out: by which the int8 model is judged too, if the study has done so with this student.
        run: of the trial with a fresh seed, whose student it is; None is the search's own.
        to: where to.
        onnx: whether to write an ONNX model.
        int8: whether to write its int8 twin, and measure both.
        force: whether to replace a bundle.
        warn: is told what the int8 model loses.

    Raises:
        StudyError: the trial left no student, or that is gone.
        ExportError: the target exists, or the bundle does not reproduce the student.
    """
    started = History(events(folder / LEDGER)).starts[row.trial]
    trial = TrialConfig.model_validate(started.config)
    architecture, model = _trained(folder, trial, row, run, task)
    own = (row.trial, None if run is None else run.seed)
    scored = next((scored for scored in summary.evaluated if (scored.trial, scored.seed) == own), None)
    judged = _judged(row, run, scored) | {"seeds": _over_seeds(summary, row.trial)}
    description = describe_origin(config, trial, summary) | judged | _description(config, trial, started, task)
    info = write_bundle(
        to,
        student_of(architecture, model, task, description),
        examples=task.validation,
        onnx=onnx,
        int8=task.train if int8 else None,
        test=held_out.split if scored else None,
        force=force,
    )
    for warning in info.figures.warnings if info.figures else ():
        warn(warning)
    return Exported(
        time=time.time(), trial=row.trial, seed=own[1], bundle=str(info.folder), manifest_hash=info.manifest_hash
    )


def _trained(
    folder: Path, trial: TrialConfig, row: TrialRow, run: FinalistFinished | None, task: Task
) -> tuple[ModelConfig, nn.Module]:
    """The network of a trial, or of its run with a fresh seed, with its weights."""
    weights = row.weights if run is None else run.weights
    if weights is None:
        command = f"autockd status {study_argument(folder)}"
        raise StudyError(f"trial {row.trial} is {row.state} and left no student; `{command}` lists those that did")
    require_weights(folder / weights, row.trial, None if run is None else run.seed)
    architecture = based_on(bare(trial.student), folder / "teacher")
    model = build_network(architecture, task, seed=trial.seed)
    load_weights(model, folder / weights)
    return architecture, model


def require_weights(path: Path, trial: int | None, seed: int | None = None) -> None:
    """See to it that the weights of a trial, of its run with a fresh seed, or of the teacher are where they were kept.

    Args:
        path: the file.
        trial: its number; None for the teacher.
        seed: the fresh seed; None for the search's own student.

    Raises:
        StudyError: they are not.
    """
    if not path.is_file():
        whose = "the teacher" if trial is None else f"trial {trial}" + ("" if seed is None else f", seed {seed}")
        raise StudyError(f"the weights of {whose} are gone: {path} is no file -> put it back")


def _description(config: StudyConfig, trial: TrialConfig, started: TrialStarted, task: Task) -> dict[str, Any]:
    """What the student is."""
    return {
        "architecture": trial.student,
        "classes": task.classes,
        "metric": task.metric,
        "direction": task.direction,
        "study": config.name,
        "trial": started.trial,
        "method": started.method,
        "conventions": started.conventions,
        "task": json.loads(config.task.model_dump_json()),
        "provenance": provenance(),
    }


def _judged(row: TrialRow, run: FinalistFinished | None, scored: Evaluated | None) -> dict[str, Any]:
    """The metrics of the student itself, under its own seed."""
    return {
        "seed": None if run is None else run.seed,
        "validation": scored.validation if scored else (run or row).value,
        "test": scored.test if scored else None,
        "others": scored.others if scored else {},
    }


def _over_seeds(summary: StudySummary, trial: int) -> SeedSummary | None:
    finalist = next((found for found in finalists_of(summary) if found.trial == trial), None)
    if finalist is None:
        return None
    validation, deviation = mean_and_deviation(finalist.validation)
    known = SeedSummary(seeds=finalist.seeds, validation_mean=validation, validation_deviation=deviation)
    if not finalist.test:
        return known
    test, deviation = mean_and_deviation(finalist.test)
    return known.model_copy(update={"test_mean": test, "test_deviation": deviation})


def student_of(architecture: ModelConfig, model: nn.Module, task: Task, description: dict[str, Any]) -> Student:
    """A trained network with what a bundle says of it."""
    if isinstance(task, ImageTask):
        shape = {"channels": task.channels, "image_size": task.image_size, "mean": task.mean, "std": task.std}
        shape |= {"preprocessing": Preprocessing.to(task.channels, task.image_size)}
        return ImageStudent(ImageBundleConfig(**description, **shape), model)
    assert isinstance(task, TextTask), "there are tasks of images and of texts"
    assert isinstance(architecture, Encoder), "texts are read by encoders"
    assert isinstance(model, TextEncoder), "which are built as such"
    assert isinstance(task.train.inputs, Texts), "of a text task"
    tokenizer = load_tokenizer(architecture)
    limits = {
        "pairs": task.train.inputs.second is not None,
        "max_length": min(task.max_length, tokenizer.model_max_length),  # it has read no more
        "score_range": task.score_range,
    }
    return TextStudent(TextBundleConfig(**description, **limits), model, tokenizer)


def winner(summary: StudySummary, pick: str = "") -> tuple[TrialRow, FinalistFinished | None]:
    """What a study exports: the best finalist's best run, or, without finalists, the best trial's own student.

    Args:
        summary: the study.
        pick: constraints on the student, such as `latency_ms <= 2`; those that finalists were chosen by.

    Raises:
        StudyError: no trial has succeeded, or none fulfils the constraints.
    """
    run = winning_run(summary)
    return (chosen_row(summary, None, pick), None) if run is None else (chosen_row(summary, run.trial), run)


def chosen_row(summary: StudySummary, trial: int | None, pick: str = "") -> TrialRow:
    """The row of a trial, by its number, or of the best that fulfils constraints such as `latency_ms <= 2`.

    Raises:
        UsageError: the constraints cannot be read, or a trial is named too.
        StudyError: there is no such trial.
    """
    if pick and trial is not None:
        raise UsageError(f"--trial {trial} and --pick {pick!r} both name a student -> give one of them")
    if pick:
        return picked_row(summary, pick)
    number = summary.best_trial if trial is None else trial
    row = next((row for row in summary.trials if row.trial == number), None)
    if row is None:
        last = len(summary.trials) - 1
        what = "no trial has succeeded yet" if trial is None else f"there is no trial {trial}, the last one is {last}"
        raise StudyError(f"{summary.study}: {what}")
    return row


def row_to_export(summary: StudySummary, pick: str) -> tuple[TrialRow | None, str]:
    """The student that a finished search exports, and why there is none although trials have succeeded."""
    if summary.best is None or not pick:
        return summary.best, ""
    try:
        return picked_row(summary, pick), ""
    except StudyError as error:
        return None, f"export.pick: {error}"


@plain_tensors()
def evaluate_on(bundle: str | Path, config: TaskConfig | None, split: str, runtime: RuntimeName) -> Evaluation:
    """The metric of a bundle on a split; see `autockd.study.evaluate`."""
    if runtime not in get_args(RuntimeName):
        raise UsageError(f"runtime: {runtime!r} is none -> use {', '.join(get_args(RuntimeName))}")
    loaded = load_bundle(bundle)
    recorded = _recorded(loaded, split, runtime) if config is None else None  # of the bundle's own data
    if config is None:
        if loaded.config.task is None:
            raise ExportError(f"{bundle}: names no data set -> {_named_here(bundle, 'one')}")
        config = _trusted(loaded.config.task, bundle)
    task, held_out = load_task(config)
    splits = {"test": held_out.split, "validation": task.validation, **held_out.others}
    if split not in splits:
        raise UsageError(f"split: there is no {split!r} -> use {', '.join(splits)}")
    samples = _in_order_of(loaded.config.classes, task.classes, splits[split])
    matched = None
    if _are_matched_by_number(loaded.config.classes, task.classes):
        matched = ", ".join(f"{number} is {name}" for number, name in enumerate(loaded.config.classes[:10]))
    return Evaluation(
        bundle=str(bundle),
        split=split,
        runtime=runtime,
        samples=len(samples),
        metric=loaded.config.metric,
        value=evaluate_bundle(loaded, samples, runtime=runtime),
        classes=matched,
        recorded=recorded,
    )


def _are_matched_by_number(classes: Sequence[str], own: Sequence[str]) -> bool:
    """Whether one side has numbers where the other has names that are none of them."""
    is_numbered = any(tuple(names) == tuple(map(str, range(len(names)))) for names in (classes, own))
    return bool(classes) and is_numbered and not set(own) <= set(classes)


def _in_order_of(classes: Sequence[str], own: Sequence[str], samples: Split) -> Split:
    """Samples whose targets number the bundle's classes; `own` are the data's, in the order of their numbers.

    Classes are the same where their names are; where one side has numbers for names, where their numbers are.

    Raises:
        DataError: the data have a class that the bundle has not.
    """
    if tuple(own) == tuple(classes)[: len(own)] or not classes or not own or _are_matched_by_number(classes, own):
        return samples
    if unknown := [name for name in own if name not in classes]:
        raise DataError(
            f"classes: the bundle knows none that is called {', '.join(map(repr, unknown[:10]))}, but "
            f"{', '.join(map(repr, classes[:10]))} -> evaluate on data whose classes have these names"
        )
    places = torch.tensor([classes.index(name) for name in own])
    return replace(samples, targets=places[samples.targets])


def _recorded(bundle: Bundle, split: str, runtime: RuntimeName) -> float | None:
    """What the bundle says of itself; the int8 model has metrics of its own."""
    if runtime != "int8":
        config = bundle.config
        return {"test": config.test, "validation": config.validation, **config.others}.get(split)
    models = bundle.figures.models if bundle.figures else ()
    own = next((model for model in models if model.precision == "int8"), None)
    return {"test": own.test, "validation": own.validation}.get(split) if own else None


def _trusted(task: TaskConfig, bundle: str | Path) -> TaskConfig:
    """A bundle's own data set, as far as it may be read unasked: a bundle may come from anywhere.

    Raises:
        ExportError: it lies on the network, or is not on this machine.
    """
    if (gone := next((path for path in _local_paths(task) if not _is_here(path)), None)) is not None:
        remedy = _named_here(bundle, "them here")
        raise ExportError(f"{bundle}: its data were at {str(gone)!r} on the machine that made it -> {remedy}")
    if task.source == "torchvision":
        return task.model_copy(update={"download": False})
    if is_on_hub(task):
        raise ExportError(
            f"{bundle}: its data set {task.path!r} is not on this machine, and nothing is fetched that a bundle names "
            f"-> {_named_here(bundle, 'it')}"
        )
    return task


def _local_paths(task: TaskConfig) -> Iterator[str | Path]:
    """Where a data set lies, as far as that can be no place on the hub."""
    if isinstance(task, Digits):
        return
    path = task.root if isinstance(task, Torchvision) else task.path
    if isinstance(path, Path) or can_only_be_local(path):
        yield path
    if isinstance(task, Text) and task.test_file is not None:
        yield task.test_file


def _is_here(path: str | Path) -> bool:
    """Whether there is such a file or folder, and one may know."""
    try:
        return expanded(path).exists()
    except OSError:
        return False


def _named_here(bundle: str | Path, what: str) -> str:
    """The remedy where a bundle's own data cannot be had: `what` is how its sentence names them."""
    return f"autockd evaluate {shlex.quote(str(bundle))} --data FILE, a study file whose `task` names {what}"
