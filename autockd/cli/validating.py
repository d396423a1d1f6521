"""`autockd validate`: the rules of a study file, and the files that it names. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from autockd.cli.inputs import input_problems
from autockd.cli.output import write_json
from autockd.cli.spaces import load_file
from autockd.config import StudyConfig
from autockd.config.budget import budget_problems, wasted_problems
from autockd.errors import ConfigError
from autockd.text import plural


def validated(file: str, overrides: Sequence[str], *, as_json: bool) -> StudyConfig:
    """The study, checked as it is and as its `smoke` section changes it, as far as that can be done without its data.

    Raises:
        ConfigError: it breaks rules; with `as_json` they are on stdout as a document too.
    """
    try:
        study = load_file(file, overrides)
        check_named(study, file)
        if study.smoke:
            check_named(load_file(file, overrides, smoke=True), f"{file} (smoke)", smoke=True)
    except ConfigError as error:
        if as_json:
            write_json({"valid": False, "problems": [asdict(problem) for problem in error.problems], "config": None})
        raise
    return study


def check_named(study: StudyConfig, source: str, *, smoke: bool = False) -> None:
    """See to it that a study has trials of its own, and for all that it tries first, and the files that it names.

    Args:
        study: the study.
        source: names its file in messages.
        smoke: whether it is a short run, with fewer trials than there are points to try first, or fewer values.

    Raises:
        ConfigError: with every mistake.
    """
    budget = budget_problems(study, source) or ([] if smoke else wasted_problems(study, source))
    if problems := [*budget, *input_problems(study, source)]:
        raise ConfigError(problems)


def describe(file: str, study: StudyConfig) -> str:
    """One line that says what a valid file asks for."""
    epochs = plural(study.training.epochs, "epoch")
    if study.compare:
        from autockd.config.arms import arm_labels

        trials = f"{plural(study.search.trials, 'trial')} of each of {', '.join(arm_labels(study.compare))}"
        return f"{file} is valid: study {study.name}, {trials}, {epochs} each"
    trials = plural(study.search.trials, "trial")
    space = plural(len(study.search.space), "dimension")
    return f"{file} is valid: study {study.name}, {trials} of {study.method.name}, {epochs} each, {space} to search"
