"""Rules of a comparison: what it leaves no room for, and the space of each of its methods."""

from __future__ import annotations

from collections.abc import Iterator

from autockd.config.arms import Arm, arms_of
from autockd.config.schema import SearchConfig, StudyConfig
from autockd.config.space import ordered
from autockd.config.space_rules import name_mistakes, space_mistakes, twin_mistakes
from autockd.config.use_rules import Mistake


def comparison_mistakes(study: StudyConfig) -> list[Mistake]:
    """Every rule that a comparison, or the space of one of its methods, breaks; each mistake once."""
    mistakes = [*_setting_mistakes(study), *twin_mistakes("compare", study.compare), *name_mistakes(study)]
    if mistakes:
        return mistakes
    try:
        list(ordered(study.search.space))
    except ValueError as error:
        return [("search.space", str(error))]
    found: dict[Mistake, Mistake] = {}
    for place, arm in enumerate(arms_of(study)):
        for field, message in _arm_mistakes(arm):
            found.setdefault((field, message), _placed(study, place, arm.label, field, message))
    return list(found.values())


def _setting_mistakes(study: StudyConfig) -> Iterator[Mistake]:
    search = study.search
    if search.baselines != SearchConfig().baselines:
        yield "search.baselines", "is not used where methods are compared; remove it, and add what it names to compare"
    if search.enqueue:
        yield "search.enqueue", "is of one space, and each compared method has its own; remove it"


def _arm_mistakes(arm: Arm) -> Iterator[Mistake]:
    if not arm.study.search.space:
        yield (
            "method",
            f"there is nothing to search for {arm.study.method.name}; add a dimension to search.space that all "
            "methods have, such as learning_rate",
        )
        return
    mistakes = space_mistakes(arm.study)
    yield from [mistake for mistake in mistakes if mistake[0] == "method"] or mistakes


def _placed(study: StudyConfig, place: int, label: str, field: str, message: str) -> Mistake:
    """A mistake of an arm under the name of what its writer wrote: a dimension of the study, or the method."""
    name = field.removeprefix("search.space.").split(".")[0]
    if field.startswith("search.space.") and name in study.search.space:
        return field, f"{message} (compare.{place}, {label})"
    if field.startswith("search.space."):
        return f"compare.{place}.{name}", message
    return f"compare.{place}", message
