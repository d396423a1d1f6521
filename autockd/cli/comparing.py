"""`autockd compare`: a study file read as a comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autockd.errors import ConfigError, UsageError

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
        from autockd.config.schema import LONGEST_NAME

        found = comparison(study, labels)
        if is_named or study.compare:
            return found
        name = f"{study.name}{_SUFFIX}"
        if len(name) > LONGEST_NAME:
            message = f"would be {name!r}, and a name has up to {LONGEST_NAME} letters"
            raise ConfigError.of("name", message, "name the comparison: add name=... to the command")
        return found.model_copy(update={"name": name})

    return change
