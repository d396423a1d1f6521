"""`autockd validate`: the rules of a study file, and the files that it names. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from autockd.cli.inputs import input_problems
from autockd.cli.output import write_json
from autockd.cli.spaces import load_file
from autockd.config import StudyConfig
from autockd.config.budget import budget_problems
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
            check_named(load_file(file, overrides, smoke=True), f"{file} (smoke)")
    except ConfigError as error:
        if as_json:
            write_json({"valid": False, "problems": [asdict(problem) for problem in error.problems], "config": None})
        raise
    return study


def check_named(study: StudyConfig, source: str) -> None:
    """See to it that a study has trials of its own, and that the files are there which it names.

    Raises:
        ConfigError: with every mistake.
    """
    if problems := [*budget_problems(study, source), *input_problems(study, source)]:
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
