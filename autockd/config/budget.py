"""Whether a search has trials that differ, and what they may ask for; known from its configuration alone."""

from __future__ import annotations

from autockd.config.schema import StudyConfig
from autockd.errors import ConfigError
from autockd.text import plural


def resource_mistakes(study: StudyConfig) -> list[tuple[str, str]]:
    """Fields of the resources that ask for what no trial can use, and why."""
    gpus = study.resources.gpus_per_trial
    if gpus is None or gpus <= 1:
        return []
    return [("resources.gpus_per_trial", f"is {gpus:g}, and a trial runs on one GPU, or on a part of it")]


def check_budget(config: StudyConfig) -> None:
    """See to it that a study has trials of its own to run, and no more of them than differ.

    Raises:
        ConfigError: all trials are baselines, or all but the first ones would train the same student again.
    """
    baselines, trials = len(config.search.baselines), config.search.trials
    if config.compare:
        return
    if trials <= baselines:
        message = f"is {trials}, and there are {plural(baselines, 'baseline')}, which come first"
        raise ConfigError.of("search.trials", message, f"set it to {baselines + 1} at least, or name fewer baselines")
    if not config.search.space and trials > baselines + 1:
        message = f"is empty, so that of {trials} trials all after the first {baselines + 1} would be the same again"
        raise ConfigError.of("search.space", message, f"name a dimension, or set search.trials to {baselines + 1}")
