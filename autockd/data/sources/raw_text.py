"""What a source of texts hands over, and the rules that texts and labels keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autockd.config.tasks import MetricName
from autockd.data.sources.raw import Indices, data_error
from autockd.data.texts import Texts

Scores = NDArray[np.float32]
"""Targets of a regression: float32 [N], on the data's own scale."""

_LARGEST_SCORE = 1e18
"""The square of an error is a loss, and stays finite in float32."""


@dataclass(frozen=True)
class TextPart:
    """The samples of one part of a data set.

    Attributes:
        texts: N sentences or pairs.
        targets: class indices, int64 [N]; or scores, float32 [N].
    """

    texts: Texts
    targets: Indices | Scores


@dataclass(frozen=True)
class RawTexts:
    """A data set as its source knows it.

    Attributes:
        name: short name, such as `rte`.
        train: samples to train and validate on.
        test: samples to test on; None where the source has none, and some of `train` must be set aside.
        classes: name of each class, by index; empty where targets are scores.
        metric: what predictions are judged by.
        score_range: the least and the largest score there can be; None where that is not known, or targets are classes.
        others: further test samples, by the name of their split.
        chosen: which columns were taken and why, where somebody's own data leave that open; empty elsewhere.
    """

    name: str
    train: TextPart
    test: TextPart | None
    classes: tuple[str, ...]
    metric: MetricName
    score_range: tuple[float, float] | None = None
    others: Mapping[str, TextPart] = field(default_factory=dict)
    chosen: str = ""


def checked_texts(columns: Mapping[str, Sequence[str | None]], part: str, field: str) -> Texts:
    """One or two columns as Texts.

    One text of a pair may be empty (GLUE's own pairs have such), but not missing.

    Args:
        columns: texts by the name of their column.
        part: what they are, such as "the split 'train'".
        field: the field of the study file that an error names.

    Raises:
        DataError: a text is missing, or nothing but white space.
    """
    remedy = "write the text, or remove the row"
    for name, column in columns.items():
        if (row := next((row for row, text in enumerate(column) if text is None), None)) is not None:
            raise data_error(field, f"row {row} of {part} has no text in {name!r}", remedy)
        if (row := next((row for row, text in enumerate(column) if not isinstance(text, str)), None)) is not None:
            other = f"row {row} of {part} has {column[row]!r} in {name!r}, and not a text"
            raise data_error(field, other, "name another column, or write it as text")
    texts = Texts(*(tuple(text for text in column if text is not None) for column in columns.values()))
    for row, sample in enumerate(zip(*texts.columns, strict=True)):
        if not any(text.strip() for text in sample):
            names = " and ".join(repr(name) for name in columns)
            raise data_error(field, f"row {row} of {part} is empty in {names}", remedy)
    return texts


def checked_scores(
    values: Sequence[object], part: str, field: str, within: tuple[float, float] | None = None
) -> Scores:
    """Numbers as scores.

    Raises:
        DataError: a score is missing, no number, or not within the range (1e18 either way, where none is given).
    """
    scores = np.array([value if isinstance(value, int | float) else np.nan for value in values], dtype=np.float64)
    low, high = within or (-_LARGEST_SCORE, _LARGEST_SCORE)
    bad = np.flatnonzero(~((scores >= low) & (scores <= high)))
    if len(bad):
        value = values[bad[0]]
        found = "missing" if value is None else f"{value:g}" if isinstance(value, int | float) else repr(value)
        message = f"the score of row {bad[0]} of {part} must be a number from {low:g} to {high:g}, but is {found}"
        raise data_error(field, message, "correct the score, or remove the row")
    return scores.astype(np.float32)
