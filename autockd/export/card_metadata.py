"""The metadata of a model card: YAML that the Hugging Face hub reads, in front of the text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from autockd.config.tasks import Digits, Glue, Torchvision
from autockd.export.description import BundleConfig, ImageBundleConfig

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_HUB_METRICS: Mapping[str, str] = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
"""What the hub calls a metric, where it has another name there."""
_LONGEST = 100


def front_matter(config: BundleConfig) -> str:
    """The metadata between their two lines of dashes; any name in them is a quoted scalar on one line."""
    from huggingface_hub import ModelCardData

    is_image = isinstance(config, ImageBundleConfig)
    hub_ids = [config.hub_id, config.teacher.hub_id if config.teacher else None]
    base = list(dict.fromkeys(hub_id for hub_id in hub_ids if hub_id and is_hub_id(hub_id)))
    results = list(_results(config))
    data = ModelCardData(
        license=config.licence,
        library_name="autockd" if is_image else "transformers",
        pipeline_tag=_pipeline(config),
        tags=["knowledge-distillation", "autockd", *([] if is_image or config.classes else ["regression"])],
        datasets=list(_hub_datasets(config)) or None,
        base_model=base or None,
        metrics=[_hub_metric(config.metric)],
        model_name=_line(config.study) if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a repository on the hub, `owner/name`, and not a path."""
    return _HUB_ID.fullmatch(name) is not None and "--" not in name and ".." not in name


def dataset_name(config: BundleConfig) -> str:
    """What people call the data set."""
    match config.task:
        case None:
            return "its data set"
        case Digits():
            return "scikit-learn's digits"
        case Torchvision(dataset=name):
            return name
        case Glue(task=name):
            return f"GLUE {name}"
        case task:
            return PurePath(str(task.path)).name


def _results(config: BundleConfig) -> Iterator[Any]:
    from huggingface_hub import EvalResult

    name = _line(dataset_name(config))
    common: dict[str, Any] = {
        "task_type": _pipeline(config),
        "dataset_name": name,
        "dataset_type": next(_hub_datasets(config), re.sub(r"[^\w.-]+", "-", name.lower()).strip("-") or "unknown"),
        "metric_type": _hub_metric(config.metric),
    }
    scores = {"validation": config.validation, "test": config.test, **config.others}
    for split, value in scores.items():
        if value is not None and math.isfinite(value):
            yield EvalResult(**common, dataset_split=_line(split), metric_value=value, metric_name=config.metric)
    if (seeds := config.seeds) is None:
        return
    for split, mean, deviation in (
        ("validation", seeds.validation_mean, seeds.validation_deviation),
        ("test", seeds.test_mean, seeds.test_deviation),
    ):
        if mean is not None and math.isfinite(mean):
            count = len(seeds.seeds)
            has_spread = deviation is not None and math.isfinite(deviation)
            spread = {"seeds": count} | ({"sd": deviation} if has_spread else {})
            title = f"{config.metric}, mean of {count} seeds"
            yield EvalResult(**common, dataset_split=split, metric_value=mean, metric_name=title, metric_args=spread)


def _pipeline(config: BundleConfig) -> str:
    return "image-classification" if isinstance(config, ImageBundleConfig) else "text-classification"


def _hub_datasets(config: BundleConfig) -> Iterator[str]:
    path = getattr(config.task, "path", None)
    if isinstance(path, str) and is_hub_id(path):
        yield path


def _hub_metric(metric: str) -> str:
    return _HUB_METRICS.get(metric, metric)


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST] or "unnamed"
