"""`autockd compare`: a study file read as a comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autockd.errors import UsageError

if TYPE_CHECKING:
    from autockd.config import StudyConfig
    from autockd.config.loading import Change

_SUFFIX = "-compare"


def compared(methods: str | None, overrides: Sequence[str]) -> Change:
    """What makes a comparison of a study, called `<name>-compare` unless an override names it.

    Args:
        methods: names with commas between them; None leaves the choice to the study.
        overrides: `key=value` texts that the study is changed by.
    """
    labels = None if methods is None else [label.strip() for label in methods.split(",") if label.strip()]
    if labels == []:
        raise UsageError("--methods: names no method -> name some, with commas between them, or leave it out")
    is_named = any(override.startswith("name=") for override in overrides)

    def change(study: StudyConfig) -> StudyConfig:
        from autockd.config.comparison import comparison

        found = comparison(study, labels)
        if is_named or study.compare:
            return found
        return found.model_copy(update={"name": f"{study.name}{_SUFFIX}"})

    return change
