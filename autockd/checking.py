"""What a study needs, tried before it trains: data, models, weights, plans."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import get_args

import torch
from torch import nn

from autockd.config.arms import Arm, arms_of
from autockd.config.budget import check_budget
from autockd.config.models import Encoder, ModelConfig
from autockd.config.objective_rules import ALWAYS_KNOWN
from autockd.config.pick import parse_pick
from autockd.config.schema import StudyConfig
from autockd.config.space import Choice, IntRange, space_text
from autockd.config.tasks import ClassMetric, ScoreMetric
from autockd.config.trial import STUDENT_DIMENSIONS, baseline_config, trial_config
from autockd.data import HeldOut, ImageTask, Split, Task, Texts, TextTask, load_task
from autockd.distillation import Run, compile_plan
from autockd.errors import ConfigError, EnvironmentProblem, ModelError, TrialFailed
from autockd.models import TextEncoder, count_parameters, encoder_shapes, load_tokenizer
from autockd.models.encoder_shape import kept_layers
from autockd.report.preview import early_warnings
from autockd.search.cluster import check_fits
from autockd.surroundings import plain_tensors
from autockd.text import plural
from autockd.tracking.mlflow_store import URI_ENV, why_refused
from autockd.tracking.redaction import redact
from autockd.training.memory import if_it_fits
from autockd.training.networks import build_network, cut_from_teacher, student_model

_FEW = 0.01
"""The share of a split that may be in the training split too before anybody is told: published sets have a few."""


@plain_tensors()
def check_study(config: StudyConfig) -> list[str]:
    """Load the data, build both models with their weights, compile the study's own plan; trains nothing."""
    check_budget(config)
    early = [check_tracking(config), _unfit(config)]
    task, held_out = load_task(config.task)
    found = [f"warning: {warning}" for warning in early if warning]
    found += [
        f"data: {task.name}, {len(task.train)} training, {len(task.validation)} validation and "
        f"{len(held_out.split)} test {_samples(task)}"
    ]
    found += check_models(config, task)
    found += normalisation_told(config, task)
    found += [f"warning: {warning}" for warning in overlaps_told(task, held_out)]
    check_plans(config, task)
    check_pick(config, task)
    found += [_described(arm, task) for arm in arms_of(config, len(task.train))]
    found += [f"warning: {warning}" for warning in early_warnings(config, len(task.train))]
    if config.finalists.seeds:
        whose = " of each method" if config.compare else ""
        found.append(
            f"finalists: the best {config.finalists.top}{whose}, the baselines and the study's own values again, with "
            f"{plural(config.finalists.seeds, 'fresh seed')} each"
        )
    return found


def _unfit(config: StudyConfig) -> str:
    """Why the study could not run on this machine, which may be another one than it is for; empty where it could."""
    try:
        check_fits(config.resources)
    except EnvironmentProblem as error:
        return f"on this machine {error}"
    return ""


def check_tracking(config: StudyConfig) -> str:
    """See to it that MLflow can record a study where it says.

    Returns:
        A warning where the environment names a store that MLflow refuses, which is no mistake of the study.

    Raises:
        ConfigError: the study names one.
    """
    named, elsewhere = config.tracking.uri, os.environ.get(URI_ENV, "")
    if not config.tracking.enabled or not (why := why_refused(named or elsewhere or "sqlite:")):
        return ""
    remedy = "name a server or a database, such as sqlite:///mlflow.db, or leave it out"
    if named:
        raise ConfigError.of("tracking.uri", f"{redact(named)} {why}", remedy)
    return f"{URI_ENV}: {redact(elsewhere)} {why}, so that this study is not recorded there; {remedy}"


def _described(arm: Arm, task: Task) -> str:
    """Such as `trial: kd, 10 epochs of 30 steps; 24 trials over learning_rate 0.05 to 0.3 (log)`."""
    trial, search = trial_config(arm.study, {}), arm.study.search
    run = Run.of(len(task.train), trial.training.batch_size, trial.training.epochs)
    epochs = plural(trial.training.epochs, "epoch")
    return (
        f"{arm.prefix}trial: {trial.method.name}, {epochs} of "
        f"{plural(run.steps_per_epoch, 'step')}; {plural(search.trials, 'trial')} over "
        f"{space_text(search.space) if arm.label else ', '.join(search.space) or 'no dimension'}"
    )


def check_models(config: StudyConfig, task: Task) -> list[str]:
    """Build teacher, assistant and student with their weights, to fail now rather than on a worker; says what they are.

    Raises:
        ModelError: an architecture or a file of weights is not usable.
        ConfigError: one cannot be trained on its last batch, of a single image; fresh seeds change nothing; the search
            would keep more layers than there are.
    """
    found = []
    models = {"teacher": config.teacher.model, "student": student_model(config)}
    sizes = {"teacher": config.teacher.training.batch_size, "student": config.training.batch_size}
    if config.assistant is not None:
        models["assistant"] = cut_from_teacher(config.assistant.model, config)
        sizes["assistant"] = config.assistant.training.batch_size
    networks = {}
    for role, model in models.items():
        networks[role] = built = _built(role, model, task)
        if role == "student" or model.weights is None:
            field = "training.batch_size" if role == "student" else f"{role}.training.batch_size"
            _check_last_batch(built, task, sizes[role], role, field)
        if role == "student":
            for size in _searched_sizes(config, len(task.train)):
                _check_last_batch(built, task, size, role, "search.space.batch_size")
            _check_seeds(built, config)
            _check_size(config, count_parameters(built))
        weights = f", weights from {model.weights}" if model.weights else ""
        found.append(f"{role}: {count_parameters(built):,} parameters{weights}")
    _check_layers(config, task, networks["teacher"])
    return found


def _built(role: str, model: ModelConfig, task: Task) -> nn.Module:
    """A role's network; what is wrong with it is told with the role's name before the field's."""
    try:
        network = if_it_fits(partial(build_network, model, task, seed=0))
        if isinstance(model, Encoder):
            load_tokenizer(model)  # it may be missing, or know more words than the encoder
    except ModelError as error:
        raise ModelError(f"{role}.model.{error}") from error
    if network is None:
        raise ConfigError.of(f"{role}.model", "does not fit into this machine's memory", "take a smaller one")
    return network


def normalisation_told(config: StudyConfig, task: Task) -> list[str]:
    """What images are normalised by, where a network starts from weights that may have been trained otherwise."""
    if not isinstance(task, ImageTask) or config.task.kind != "image" or config.task.mean is not None:
        return []
    models = {"teacher": config.teacher.model, "student": config.student.model}
    models |= {"assistant": config.assistant.model} if config.assistant else {}
    if not (given := [role for role, model in models.items() if model.weights is not None]):
        return []
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (task.mean, task.std))
    return [
        f"weights of {' and '.join(given)} are given, and images are normalised by the mean ({mean}) and standard "
        f"deviation ({std}) of this training split; if they were trained with others, set task.mean and task.std"
    ]


def _check_layers(config: StudyConfig, task: Task, teacher: nn.Module) -> None:
    """The layers that students keep, of an encoder that may have fewer: the study's own, and the most of the space."""
    searched, model = config.search.space.get("student_layers"), config.student.model
    if not isinstance(model, Encoder) or model.initial == "random":
        return
    kept = {"student.model.layers": model.layers}
    kept["search.space.student_layers"] = max(map(int, searched.corners)) if searched is not None else None
    for field, layers in kept.items():
        try:
            if layers is not None and model.path is None and isinstance(teacher, TextEncoder):  # cut from it as trained
                kept_layers(layers, teacher.hf.config.num_hidden_layers)
            elif layers is not None:
                encoder_shapes(model.model_copy(update={"layers": layers}), outputs=task.outputs, labels=task.classes)
        except ModelError as error:
            raise ConfigError.of(field, f"would keep {layers}, and {error}") from error


def _searched_sizes(config: StudyConfig, samples: int) -> Iterable[int]:
    """Every batch size that may be proposed and is no larger than the samples: a larger one has them in one batch."""
    searched = config.search.space.get("batch_size")
    if isinstance(searched, IntRange):
        return range(searched.low, min(searched.high, samples) + 1, searched.step or 1)
    return map(int, searched.choices) if isinstance(searched, Choice) else ()


def _check_last_batch(network: nn.Module, task: Task, batch_size: int, role: str, field: str) -> None:
    """Batch normalisation over a single number has no deviation, and torch refuses it."""
    if _last_batch(len(task.train), batch_size) > 1 or not isinstance(task, ImageTask):
        return
    try:
        with torch.no_grad():
            network.train()(torch.zeros(1, task.channels, *task.image_size))
    except ValueError as error:
        message = f"is {batch_size}, so that the last of {len(task.train)} images is a batch of its own, on which"
        message += f" batch normalisation of the {role} cannot train"
        fitting = next(size for size in count(batch_size + 1) if _last_batch(len(task.train), size) > 1)
        remedy = f"choose another, such as {fitting}"
        if field.startswith("search."):
            remedy = f"leave it out: list `choices`, such as {fitting}, or give the range a `step`"
        raise ConfigError.of(field, message, remedy) from error


def _check_seeds(network: nn.Module, config: StudyConfig) -> None:
    """Fresh seeds draw weights and dropout, and nothing else: without either they would train one student again and
    again, and its spread would be none.
    """
    model = config.student.model
    is_cut = isinstance(model, Encoder) and model.path is None and model.initial != "random"
    if config.finalists.seeds and (model.weights is not None or is_cut) and not _has_dropout(network):
        raise ConfigError.of(
            "finalists.seeds",
            "would change nothing: the student starts from given weights and has no dropout, so that every seed trains "
            "the same one",
            "set it to 0, or leave student.model.weights out",
        )


def _check_size(config: StudyConfig, parameters: int) -> None:
    """Where all students are of one size, `export.pick` must let that pass."""
    if config.compare or not STUDENT_DIMENSIONS.keys().isdisjoint(config.search.space):
        return
    for constraint in parse_pick(config.export.pick):
        if constraint.name == ALWAYS_KNOWN and not constraint.holds(parameters):
            message = f"asks for {constraint}, and every student of this study has {parameters}"
            remedy = "change the limit, or have the search choose the student's size"
            raise ConfigError.of("export.pick", message, remedy)


def _has_dropout(network: nn.Module) -> bool:
    """Whether anything in it is drawn anew in each step, such as torchvision's StochasticDepth too."""
    return any(
        any(word in type(part).__name__.lower() for word in ("drop", "stochastic"))
        and float(getattr(part, "p", 0.0)) > 0.0
        for part in network.modules()
    )


def _last_batch(samples: int, batch_size: int) -> int:
    return samples % batch_size or batch_size


def check_pick(config: StudyConfig, task: Task) -> None:
    """See to it that `export.pick` is about what the study will know of each trial.

    Raises:
        ConfigError: it is about another metric than the study's.
    """
    for constraint in parse_pick(config.export.pick):
        if constraint.name in get_args(ClassMetric) + get_args(ScoreMetric) and constraint.name != task.metric:
            raise ConfigError.of(
                "export.pick",
                f"is about {constraint.name}, and this study's metric is {task.metric}",
                "pick by that one",
            )


def check_plans(config: StudyConfig, task: Task) -> None:
    """Compile the study's own setting and its baselines, or all that it compares: schedules may be too long for a run.

    Raises:
        ConfigError: one does not fit.
    """
    if config.compare:
        arms = arms_of(config, len(task.train))
        trials = {f"compare.{place}": trial_config(arm.study, {}) for place, arm in enumerate(arms)}
    else:
        trials = {"method": trial_config(config, {})}
        trials |= {
            f"search.baselines.{place}": baseline_config(config, each)
            for place, each in enumerate(config.search.baselines)
        }
        trials |= {
            f"search.enqueue.{place}": trial_config(config, point) for place, point in enumerate(config.search.enqueue)
        }
    problems = []
    for field, trial in trials.items():
        try:
            compile_plan(trial, len(task.train), 1.0)
        except TrialFailed as error:
            problem = error.as_problem(f"{field}.smoothing_start")
            if field == "method" and "smoothing_start" not in config.method.model_fields_set:
                problem = replace(problem, remedy=f"name one, for this is the default; {problem.remedy}")
            problems.append(problem)
    if problems:
        raise ConfigError(problems)


def overlaps_told(task: Task, held_out: HeldOut) -> list[str]:
    """Where many samples that a student is judged by are among those that it learns from, to the byte."""
    learned = set(_digests(task.train))
    told = []
    for name, split in (("validation", task.validation), ("test", held_out.split)):
        shared = sum(digest in learned for digest in _digests(split))
        if shared > _FEW * len(split):
            what = "texts" if isinstance(split.inputs, Texts) else "images"
            told.append(
                f"{shared:,} of {len(split):,} {name} {what} are training {what} too, so that their metric says less "
                "of others: remove what is there twice"
            )
    return told


def _digests(split: Split) -> Iterator[bytes]:
    if isinstance(split.inputs, Texts):
        samples = (repr(texts).encode() for texts in zip(*split.inputs.columns, strict=True))
    else:
        samples = (image.tobytes() for image in split.inputs.numpy())
    return (blake2b(sample, digest_size=16).digest() for sample in samples)


def _samples(task: Task) -> str:
    """Such as `images of 1x8x8, 10 classes, 9 views of each`; of texts, which columns they are too."""
    kinds = f"{len(task.classes)} classes" if task.classes else "a score each"
    if isinstance(task, ImageTask):
        height, width = task.image_size
        return f"images of {task.channels}x{height}x{width}, {kinds}, {plural(task.views.count, 'view')} of each"
    chosen = f"; {task.chosen}" if isinstance(task, TextTask) and task.chosen else ""
    return f"texts, {kinds}{chosen}"
