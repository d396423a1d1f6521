"""The arms of a comparison: one study for each method, alike in everything but the method and its dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autockd.config.method_spaces import fitted, method_space, without_margin
from autockd.config.methods import AnnealingKD, ContinuationKD, MethodConfig
from autockd.config.schema import StudyConfig
from autockd.config.space import AnyDimension, as_number, as_tuple, ordered
from autockd.config.training import TRAINING_DIMENSIONS
from autockd.config.trial import STUDENT_DIMENSIONS

STANDARDISED = "-std"
"""How the label of a method on standardised logits ends."""


@dataclass(frozen=True)
class Arm:
    """A search of one method.

    Attributes:
        label: its name in the study, such as `kd` or `kd-std`; empty where nothing is compared.
        first: number of its first trial.
        study: the study as if it searched this method alone.
    """

    label: str
    first: int
    study: StudyConfig

    @property
    def prefix(self) -> str:
        """What a sentence about it begins with: `kd: `, or nothing where nothing is compared."""
        return f"{self.label}: " if self.label else ""


def arms_of(study: StudyConfig, samples: int | None = None) -> tuple[Arm, ...]:
    """The searches of a study, in order: one for each method that it compares, or the one that it is.

    Args:
        study: the study.
        samples: training samples, for spaces whose schedules fit into the steps of a run; None where they are not
            known yet.
    """
    if not study.compare:
        return (Arm("", 0, study),)
    return tuple(
        Arm(label, place * study.search.trials, _alone(study, method, samples))
        for place, (label, method) in enumerate(zip(arm_labels(study.compare), study.compare, strict=True))
    )


def arm_labels(methods: Sequence[MethodConfig]) -> tuple[str, ...]:
    """A name for each compared method, none of them twice: `kd`, `kd-std`, `continuation`, `continuation-2`."""
    counts: Counter[str] = Counter()
    labels = []
    for method in methods:
        name = method.name + (STANDARDISED if getattr(method, "standardise_logits", False) else "")
        counts[name] += 1
        labels.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return tuple(labels)


def _alone(study: StudyConfig, method: MethodConfig, samples: int | None) -> StudyConfig:
    space = _arm_space(study, method, samples)
    search = study.search.model_copy(update={"space": space, "baselines": ()})
    return study.model_copy(update={"method": without_margin(method, space), "search": search, "compare": ()})


def _arm_space(study: StudyConfig, method: MethodConfig, samples: int | None) -> dict[str, AnyDimension]:
    """The study's dimensions of training and student, and the method's: the study's where its space is of that method.

    Other methods have their usual dimensions, with the study's ranges where it names such a dimension too. Schedules of
    all of them fit into a run.
    """
    fields = type(method).model_fields.keys() - {"name"}
    space = _named(study.search.space, method.name, {*TRAINING_DIMENSIONS, *STUDENT_DIMENSIONS, *fields})
    if not (fields & space.keys() and method.name in study.own_methods):
        usual = method_space(method, is_regression=study.task.is_regression, is_binary=study.task.is_binary)
        space |= {name: dimension for name, dimension in usual.items() if name not in space}
    ticks = _shortest_run(study, space, method, samples)
    return space if ticks is None else fitted(space, method, ticks)


def _named(space: Mapping[str, AnyDimension], method: str, names: set[str]) -> dict[str, AnyDimension]:
    """The dimensions of these names that can exist under a method, without conditions on the method."""
    named: dict[str, AnyDimension] = {}
    for name, dimension in ordered(space):
        conditions = dict(dimension.when)
        allowed = as_tuple(conditions.pop("method", method))
        if name in names and method in allowed and conditions.keys() <= named.keys():
            named[name] = dimension.model_copy(update={"when": conditions})
    return named


def _shortest_run(
    study: StudyConfig, space: Mapping[str, AnyDimension], method: MethodConfig, samples: int | None
) -> int | None:
    """Ticks of the schedules in the shortest run of a space; None where any length will do, or it is not known."""
    if not isinstance(method, AnnealingKD | ContinuationKD):
        return None
    if "step" not in _values(space, "smoothing_shape", method.smoothing_shape):
        return None
    epochs = int(min(map(as_number, _values(space, "epochs", study.training.epochs))))
    if "epoch" in _values(space, "granularity", method.granularity):
        return epochs
    if samples is None:
        return None
    batch = int(max(map(as_number, _values(space, "batch_size", study.training.batch_size))))
    return epochs * -(-samples // batch)


def _values(space: Mapping[str, AnyDimension], name: str, own: object) -> tuple[object, ...]:
    """A dimension's extreme values; the study's own where it is none."""
    return space[name].corners if name in space else (own,)
