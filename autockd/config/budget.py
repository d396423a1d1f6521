"""Whether a search has trials that differ, and what they may ask for; known from its configuration alone."""

from __future__ import annotations

from autockd.config.schema import StudyConfig
from autockd.config.use_rules import constant_mistakes
from autockd.errors import ConfigError, Problem


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
    if problems := budget_problems(config):
        raise ConfigError(problems)


def budget_problems(config: StudyConfig, source: str = "") -> list[Problem]:
    """What `check_budget` would raise, as mistakes of the file `source`."""
    baselines, trials = len(config.search.baselines), config.search.trials
    if config.compare:
        return []
    if trials <= baselines:
        message = f"is {trials}, and the baselines alone are {baselines}"
        remedy = f"set it to {baselines + 1} at least, or name fewer baselines"
        return [Problem("search.trials", message, remedy, source)]
    if not config.search.space and trials > baselines + 1:
        message = f"is empty, so that of {trials} trials all after the first {baselines + 1} would be the same again"
        remedy = f"name a dimension, or set search.trials to {baselines + 1}"
        return [Problem("search.space", message, remedy, source)]
    return []


def wasted_problems(config: StudyConfig, source: str = "") -> list[Problem]:
    """Points to try first for which no trial is left, and dimensions that have one value.

    They are mistakes of a whole study; a short run that tries whether all of it works may have them.
    """
    search = config.search
    problems = [Problem(*mistake, source) for mistake in constant_mistakes(config)]
    before = len(search.baselines) + search.enqueue_defaults
    if search.enqueue and search.trials < before + len(search.enqueue):
        message = (
            f"is {search.trials}, of which {before} come before the {len(search.enqueue)} points of search.enqueue"
        )
        remedy = f"set it to {before + len(search.enqueue)} at least, or name fewer points"
        problems.append(Problem("search.trials", message, remedy, source))
    return problems
