"""What a bundle says about its model, for people: README.md, the model card, with metadata as the hub reads them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from autockd.config.models import CifarResNet, Encoder, TorchvisionModel
from autockd.export.card_metadata import dataset_name, front_matter
from autockd.export.card_usage import FIGURES, FILES, preprocessing_text, usage
from autockd.export.description import BundleConfig, ImageBundleConfig, TextBundleConfig
from autockd.export.figures import Figures, ModelFigures
from autockd.text import plural

_MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")


def model_card(config: BundleConfig, *, parameters: int, figures: Figures | None) -> str:
    """The text of README.md, in Markdown, with metadata of a model card of the Hugging Face hub in front.

    Args:
        config: what is said of the model; its names may be any text, and stay text.
        parameters: number of its trainable values.
        figures: of its ONNX models; None where there are none.
    """
    is_image = isinstance(config, ImageBundleConfig)
    trial = "" if config.trial is None else f", trial {config.trial}"
    kind = "An image classifier" if is_image else "A text classifier" if config.classes else _SCORER
    sections = {
        "": _facts(config, parameters),
        "Intended use": [_intended_use(config)],
        "How it was made": [*_making(config)],
        "Results": [*_results(config)],
        "ONNX models": [] if figures is None else [*_models(figures, is_image=is_image)],
        "Limits": [*_limits(config, figures)],
    }
    parts = [front_matter(config), f"# {plain(config.study)}{trial}"]
    parts.append(f"{kind} trained by knowledge distillation (method: {plain(config.method)}).")
    for title, paragraphs in sections.items():
        if paragraphs:
            parts += [*([f"## {title}"] if title else []), *paragraphs]
    files = FILES.format(figures="" if figures is None else FIGURES)
    return "\n\n".join([*parts, *usage(config, onnx=figures is not None), files])


def plain(text: object, longest: int = 120) -> str:
    """Text on one line and not too long, that Markdown and HTML leave as it is, whoever chose it."""
    line = " ".join(str(text).split())
    if len(line) > longest:
        line = line[: longest - 3] + "..."
    return _MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))


def architecture_text(model: CifarResNet | TorchvisionModel | Encoder) -> str:
    """An architecture in a few words, such as `CIFAR ResNet-8 with 4-8-16 channels, shortcut A`."""
    if isinstance(model, TorchvisionModel):
        return f"torchvision's {model.name}"
    if isinstance(model, CifarResNet):
        widths = "-".join(map(str, model.stage_widths))
        return f"CIFAR ResNet-{model.depth} with {widths} channels, shortcut {model.shortcut}"
    if model.initial == "random":
        return "a transformers encoder, trained from fresh weights"
    return f"a transformers encoder, {_layers(model.layers)} of the pretrained one it started from"


_SCORER = "A text encoder with one output, a score,"


def _facts(config: BundleConfig, parameters: int) -> list[str]:
    metric = config.metric.replace("_", " and ").capitalize()
    scores = {"validation": config.validation, "test": config.test, **config.others}
    facts = [
        f"Architecture: {plain(architecture_text(config.architecture))}, {parameters:,} parameters",
        *(_image_facts(config) if isinstance(config, ImageBundleConfig) else _text_facts(config)),
        *(f"{metric}, {plain(split)} split: {_number(value)}" for split, value in scores.items()),
        f"Licence: {config.licence or 'not stated'}",
        f"Written by autockd {plain(config.provenance.autockd)}",
    ]
    return ["\n".join(f"- {fact}" for fact in facts)]


def _image_facts(config: ImageBundleConfig) -> list[str]:
    height, width = config.image_size
    return [
        f"Input: {config.channels} x {height} x {width} (channels, height, width), pixels 0..255",
        *([preprocessing_text(made, config.task)] if (made := config.preprocessing) is not None else []),
        f"Output: one logit for each of {len(config.classes)} classes, named in autockd.json",
    ]


def _text_facts(config: TextBundleConfig) -> list[str]:
    what = "pairs of texts" if config.pairs else "texts"
    output = f"one logit for each of {len(config.classes)} classes, named in config.json"
    if not config.classes:
        known = "" if config.score_range is None else " for scores of {:g} to {:g}".format(*config.score_range)
        output = f"one number, the score{known}; it may run past either end"
    return [f"Input: {what} of up to {config.max_length} tokens; longer ones are cut", f"Output: {output}"]


def _intended_use(config: BundleConfig) -> str:
    inputs = "images" if isinstance(config, ImageBundleConfig) else "texts"
    name, classes = plain(dataset_name(config)), len(config.classes)
    what = (
        f"Sorting {inputs} like those of {name} into its {classes} classes"
        if classes
        else f"Scoring {inputs} like those of {name}"
    )
    return f"{what}, where a model must be small. What it says of other {inputs} means nothing."


def _making(config: BundleConfig) -> Iterator[str]:
    if (teacher := config.teacher) is not None:
        hub = f" (from {plain(teacher.hub_id)})" if teacher.hub_id else ""
        scores = f"{config.metric} {_number(teacher.validation)} on the validation split"
        scores += "" if teacher.test is None else f", {_number(teacher.test)} on the test split"
        yield f"**Teacher.** {_capital(plain(teacher.model))}{hub}, {teacher.parameters:,} parameters; {scores}."
    yield f"**Data.** {plain(dataset_name(config))}. autockd.json says how it was split."
    plan = f"Method {plain(config.method)}"
    if config.plan is not None and (settings := config.plan.model_dump(exclude={"name"})):
        plan += ": " + ", ".join(f"{plain(name)} {_value(value)}" for name, value in settings.items())
    yield f"**Plan.** {plan}." + (f" {_capital(plain(config.conventions, 600))}." if config.conventions else "")
    if (run := config.training) is not None:
        yield (
            f"**Training.** {run.epochs} epochs in batches of {run.batch_size}, {run.optimizer}, learning rate "
            f"{run.learning_rate:.4g} ({run.lr_schedule.shape}), weight decay {run.weight_decay:.4g}."
        )
    if (budget := config.budget) is not None:
        again = f" and {plural(budget.fresh_runs, 'run')} with fresh seeds" if budget.fresh_runs else ""
        yield (
            f"**Budget.** Chosen from {plural(budget.trials, 'trial')}{again}, of {budget.epochs:,} epochs in all, "
            f"which took {budget.trial_seconds:,.0f} s one after the other."
        )


def _results(config: BundleConfig) -> Iterator[str]:
    heads = ["model", f"validation {config.metric}", f"test {config.metric}"]
    seed = "" if config.seed is None else f", seed {config.seed}"
    rows = [[f"this one{seed}", _number(config.validation), _number(config.test)]]
    if (seeds := config.seeds) is not None:
        validation = _spread(seeds.validation_mean, seeds.validation_deviation)
        test = _spread(seeds.test_mean, seeds.test_deviation)
        rows.append([f"mean ± sd of {len(seeds.seeds)} seeds", validation, test])
    if (teacher := config.teacher) is not None:
        rows.append(["teacher", _number(teacher.validation), _number(teacher.test)])
    yield _table(heads, rows)
    if config.seeds is None:
        yield "Of one run with one seed: how much it would differ with another seed was not measured."


def _models(figures: Figures, *, is_image: bool) -> Iterator[str]:
    sizes = sorted({size for model in figures.models for size in model.latency})
    heads = ["model", "bytes", *(f"ms for {size} (95 %)" for size in sizes)]
    is_judged = any(model.validation is not None for model in figures.models)
    if is_judged:
        heads += [f"validation {figures.metric}", f"test {figures.metric}", "agrees with the student"]
    rows = []
    for model in figures.models:
        times = [f"{model.latency[size].median:.3f} ({model.latency[size].p95:.3f})" for size in sizes]
        rows.append([f"{model.precision}, {plain(model.file)}", f"{model.bytes:,}", *times, *_judged(model, is_judged)])
    yield _table(heads, rows)
    shapes = {name: " x ".join(map(str, shape)) for name, shape in figures.shapes[sizes[0]].items()}
    inputs = ", ".join(f"{plain(name)} {shape}" for name, shape in shapes.items())
    yield (
        f"Median time of a call with {' and '.join(map(str, sizes))} samples, in brackets the 95th percentile, by "
        f"{plain(figures.runtime)} on {figures.threads} thread of one CPU; {inputs} for one sample."
        + (" Each metric is of the model itself." if is_judged else "")
    )
    if figures.batch_size is not None and not is_image:
        yield (
            "The int8 model takes the ranges of its activations from each batch, so its logits change a little with "
            f"the texts beside; it was judged in batches of {figures.batch_size}."
        )
    for warning in figures.warnings:
        yield f"**Note:** {plain(warning)}."


def _judged(model: ModelFigures, is_judged: bool) -> list[str]:
    if not is_judged:
        return []
    agreement = "" if model.agreement is None else f"{model.agreement:.1%}"
    return [_number(model.validation), "not measured" if model.test is None else _number(model.test), agreement]


def _limits(config: BundleConfig, figures: Figures | None) -> Iterator[str]:
    selection = "The search chose it by its validation metric, which is therefore a little too good"
    selection += "." if config.test is None else "; the test metric is not."
    limits = ["It was judged on data like its training data only; other data may be harder.", selection]
    if figures is not None:
        limits.append("Latency is that of a single machine; measure it on yours.")
    if config.licence is None:
        limits.append("No licence was stated; ask whoever made it before you use it.")
    yield "\n".join(f"- {limit}" for limit in limits)


def _layers(layers: int | tuple[int, ...] | None) -> str:
    if layers is None:
        return "all layers"
    if isinstance(layers, tuple):
        return f"layers {', '.join(map(str, layers))}"
    return "1 layer" if layers == 1 else f"{layers} layers"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(mean: float | None, deviation: float | None) -> str:
    return _number(mean) if mean is None or deviation is None else f"{mean:.4f} ± {deviation:.4f}"


def _number(metric: float | None) -> str:
    return "not recorded" if metric is None else f"{metric:.4f}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
