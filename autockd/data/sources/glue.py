"""The nine tasks of GLUE (Wang et al., 2019), from the hub's `nyu-mll/glue` or a local folder in that layout.

What each task is judged by unless a study names another metric, what GLUE's leaderboard averages, and which number
the tables of the Continuation-KD paper (Jafari et al., 2022; GLUE dev) show:

    task    metric            GLUE's leaderboard                 the paper's tables
    cola    matthews          Matthews correlation               Matthews correlation
    sst2    accuracy          accuracy                           accuracy
    mrpc    f1                mean of F1 and accuracy            F1, likely (1)
    qqp     accuracy          mean of F1 and accuracy            accuracy, likely (2)
    stsb    pearson_spearman  mean of Pearson and Spearman       one of these three; not stated (3)
    mnli    accuracy          accuracy, matched and mismatched   accuracy; which of the two is not stated
    qnli    accuracy          accuracy                           accuracy
    rte     accuracy          accuracy                           accuracy
    wnli    accuracy          accuracy                           left out

The paper does not say what it shows for mrpc, qqp and stsb; these are inferences from the size of the numbers:
(1) DistilRoBERTa's 91.93 is beyond its accuracy, and usual for its F1. (2) Its 91.64 is usual for its accuracy, and
its F1 lies some three points lower. (3) Pearson and Spearman differ by a few tenths of a point.
`accuracy_f1` and `pearson` are there for those who compare with other tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autockd.config.tasks import Glue, GlueTask, MetricName
from autockd.data.sources.hub import load_files, load_splits, split_name, split_named, values_of
from autockd.data.sources.raw import Indices, data_error, listed
from autockd.data.sources.raw_text import RawTexts, TextPart, checked_scores, checked_texts
from autockd.folders import expanded

STSB_RANGE = (0.0, 5.0)
"""Scores of stsb: 0, unrelated, to 5, the same meaning. They are used as they are."""


@dataclass(frozen=True)
class GlueData:
    """What the data of a task look like, and how they are judged.

    Attributes:
        columns: names of the columns of texts.
        metric: see the table above.
        classes: name of each class, by index; empty where labels are scores.
        test: the split that takes the place of the hidden test split.
        others: further such splits, by the name they are reported under.
    """

    columns: tuple[str, ...]
    metric: MetricName
    classes: tuple[str, ...]
    test: str = "validation"
    others: Mapping[str, str] | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of all splits that have labels."""
        return ("train", self.test, *(self.others or {}).values())


_SENTENCE, _SENTENCES = ("sentence",), ("sentence1", "sentence2")
_ENTAILS = ("entailment", "not_entailment")
_MNLI_CLASSES = ("entailment", "neutral", "contradiction")

GLUE_DATA: Mapping[GlueTask, GlueData] = {
    "cola": GlueData(_SENTENCE, "matthews", ("unacceptable", "acceptable")),
    "sst2": GlueData(_SENTENCE, "accuracy", ("negative", "positive")),
    "mrpc": GlueData(_SENTENCES, "f1", ("not_equivalent", "equivalent")),
    "qqp": GlueData(("question1", "question2"), "accuracy", ("not_duplicate", "duplicate")),
    "stsb": GlueData(_SENTENCES, "pearson_spearman", ()),
    "mnli": GlueData(
        *(("premise", "hypothesis"), "accuracy", _MNLI_CLASSES),
        test="validation_matched",
        others={"mismatched": "validation_mismatched"},
    ),
    "qnli": GlueData(("question", "sentence"), "accuracy", _ENTAILS),
    "rte": GlueData(_SENTENCES, "accuracy", _ENTAILS),
    "wnli": GlueData(_SENTENCES, "accuracy", ("not_entailment", "entailment")),
}


def read_glue(config: Glue) -> RawTexts:
    """A task of GLUE: its training split, and its validation split as the test split.

    Raises:
        DataError: the data cannot be read, or are not those of the task.
    """
    data = GLUE_DATA[config.task]
    splits = _load(config, data)
    classes = _class_names(splits["train"], data)
    part = partial(_part, data=data, classes=classes)
    return RawTexts(
        name=config.name,
        train=part(splits["train"]),
        test=part(splits[data.test]),
        classes=classes,
        metric=config.metric or data.metric,
        score_range=None if classes else STSB_RANGE,
        others={name: part(splits[split]) for name, split in (data.others or {}).items()},
    )


def _load(config: Glue, data: GlueData) -> dict[str, Any]:
    folder = expanded(config.path)
    if folder.is_dir():
        loaded = load_files("parquet", _files(config, folder, data), "task.path", config.path)
    else:
        loaded = load_splits(config.path, config.task, config.revision, data.splits)
    splits = {name: split_named(loaded, "path", name) for name in data.splits}
    for name, split in splits.items():
        if missing := [column for column in (*data.columns, "label") if column not in split.features]:
            message = f"{config.task}'s split {name!r} lacks {listed(missing)}; it has {listed(list(split.features))}"
            raise data_error("task.path", message, "give its columns the names that they have in nyu-mll/glue")
    return splits


def _files(config: Glue, folder: Path, data: GlueData) -> dict[str, list[Path]]:
    """The Parquet files of each split: `<task>/<split>-00000-of-00001.parquet`."""
    files = {name: sorted((folder / config.task).glob(f"{name}-[0-9]*.parquet")) for name in data.splits}
    if missing := [f"{config.task}/{name}-*.parquet" for name, found in files.items() if not found]:
        there = sorted(path.name for path in folder.iterdir() if path.is_dir())
        message = f"{config.path!r} has no file {listed(missing)}; its folders are {listed(there)}"
        raise data_error("task.path", message, "lay the files out as nyu-mll/glue does, or name another task")
    return files


def _class_names(train: Any, data: GlueData) -> tuple[str, ...]:
    """The data's own names, where their files hold such."""
    import datasets

    feature = train.features["label"]
    return tuple(feature.names) if data.classes and isinstance(feature, datasets.ClassLabel) else data.classes


def _part(split: Any, data: GlueData, classes: tuple[str, ...]) -> TextPart:
    name = split_name(split)
    texts = checked_texts({column: values_of(split, column) for column in data.columns}, name, "task.path")
    labels = values_of(split, "label")
    if classes:
        return TextPart(texts, _class_indices(labels, name, classes))
    return TextPart(texts, checked_scores(labels, name, "task.path", STSB_RANGE))


def _class_indices(labels: list[Any], part: str, classes: tuple[str, ...]) -> Indices:
    indices = range(len(classes))
    for row, label in enumerate(labels):
        if not isinstance(label, int) or label not in indices:
            message = f"the label of row {row} of {part} must be an integer from 0 to {len(classes) - 1}, not {label!r}"
            remedy = "only splits whose labels are published can be used: take the files of nyu-mll/glue"
            raise data_error("task.path", message, remedy)
    return np.array(labels, dtype=np.int64)
