"""What each event says in MLflow's words: params, tags and metrics, as plain dictionaries.

A trial has at most 15 metric keys, a finalist two more. Every dimension of the space is there as a param (`na` where it
does not apply), with the twins that charts need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autockd.config.training import TRAINING_DIMENSIONS
from autockd.config.trial import STUDENT_DIMENSIONS
from autockd.facts import Direction
from autockd.hashing import content_hash
from autockd.records import (
    BankRecord,
    EpochRecord,
    Evaluated,
    Exported,
    PrecisionChoice,
    Provenance,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherRecord,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking.chart_axes import NOT_APPLICABLE, Space, twins
from autockd.tracking.mlflow_lookup import STUDY_ID
from autockd.tracking.mlflow_runs import milliseconds
from autockd.verdicts import Finalist, mean_and_deviation, winner_of

_COEFFICIENTS = ("hard_weight", "smoothing", "margin", "learning_rate")
_NOT_PARAMS = frozenset({"note", "smoke"})
_MAKE_ROOM = ("gpu_seconds", "cpu_seconds", "samples_per_second")

PARAMETERS = "student_parameters"
"""Metric key of a trial's parameters."""

Metrics = dict[str, float | None]
"""Metrics of one moment; None is left out."""


def study_id(event: StudyStarted) -> str:
    """Tells a study from others of its name: one that was deleted and begun again is another study."""
    return content_hash([event.config_hash, milliseconds(event.time)])[:12]


def study_params(config: Mapping[str, Any]) -> dict[str, str]:
    """The resolved configuration as dotted keys; its note and smoke overrides are left out."""
    return dict(_flat({key: value for key, value in config.items() if key not in _NOT_PARAMS}))


def study_tags(event: StudyStarted) -> dict[str, str]:
    """What the study is, the versions and the machine."""
    return provenance_tags(event.provenance) | {
        "autockd.config_hash": event.config_hash,
        "autockd.task_fingerprint": event.task_fingerprint,
    }


def resumption_tags(event: StudyResumed, count: int) -> dict[str, str]:
    """That the study goes on, for the `count`-th time, on which machine, and what its user changed."""
    tags = {"autockd.resumed": str(count), "autockd.changes": "; ".join(event.changes)}
    return provenance_tags(event.provenance) | {key: value for key, value in tags.items() if value}


def provenance_tags(origin: Provenance) -> dict[str, str]:
    """The versions and the machine."""
    tags = {
        "mlflow.source.git.commit": origin.git_commit or "",
        "autockd.version": origin.autockd,
        "autockd.python": origin.python,
        "autockd.platform": origin.platform,
        "autockd.host": origin.host,
        "autockd.cpu": origin.cpu,
        "autockd.cpus": str(origin.cpus),
        "autockd.gpus": ", ".join(origin.gpus) or "none",
    }
    tags |= {f"autockd.versions.{package}": version for package, version in origin.versions.items()}
    return {key: value for key, value in tags.items() if value}


def precision_tags(choice: PrecisionChoice) -> dict[str, str]:
    """The arithmetic of training, and why."""
    return {
        "autockd.device": choice.device,
        "autockd.precision": choice.precision,
        "autockd.channels_last": str(choice.channels_last).lower(),
        "autockd.threads": str(choice.threads),
        "autockd.precision_reason": choice.reason,
    }


def teacher_tags(teacher: TeacherRecord, role: str = "teacher") -> dict[str, str]:
    """Which teacher, or assistant, it is."""
    return {
        f"autockd.{role}": teacher.weights_hash,
        f"autockd.{role}_origin": teacher.origin,
        f"autockd.{role}_answers": teacher.answers,
    }


def teacher_metrics(teacher: TeacherRecord, metric: str, role: str = "teacher") -> Metrics:
    """The validation metric, size and cost of the teacher, or of the assistant."""
    return {
        f"{role}_val_{metric}": teacher.metric,
        f"{role}_parameters": teacher.parameters,
        f"{role}_bytes": teacher.bytes,
        f"{role}_seconds": teacher.seconds,
        f"{role}_second_moment": teacher.second_moment,
        f"{role}_answers_difference": teacher.answers_difference,
    }


def bank_metrics(bank: BankRecord, whose: str = "teacher") -> Metrics:
    """How full the teacher bank, or the assistant's, is and how often it was asked."""
    names = ("entries", "filled", "hits", "misses", "seconds", "checked", "max_difference")
    prefix = "bank" if whose == "teacher" else f"{whose}_bank"
    return {f"{prefix}_{name}": getattr(bank, name) for name in names}


def trial_name(event: TrialStarted) -> str:
    """Such as `007 continuation`."""
    return f"{event.trial:03d} {event.arm or event.method}"


def trial_tags(event: TrialStarted, study: str) -> dict[str, str]:
    """What a trial is, apart from its numbers; `study` is the id of its study."""
    arm = {"autockd.arm": event.arm} if event.arm else {}
    return arm | {
        STUDY_ID: study,
        "autockd.role": event.role,
        "autockd.method": event.method,
        "autockd.fingerprint": event.fingerprint,
        "autockd.conventions": event.conventions,
        "autockd.state": "running",
    }


def trial_params(event: TrialStarted, space: Space) -> dict[str, str]:
    """The point of the space, method and main training values, and what charts need beside them."""
    values: dict[str, Any] = {"method": event.method, "seed": event.config.get("seed")}
    values |= {"arm": event.arm} if event.arm else {}
    values |= _fields(event.config.get("training", {}), {name: name for name in TRAINING_DIMENSIONS})
    values |= _fields(event.config.get("student", {}), STUDENT_DIMENSIONS)
    values |= event.params
    # A baseline has no point; what its own method is set to stands in for it.
    fallback = event.config.get("method", {}) if event.role == "baseline" else {}
    for name in space:
        value = values.setdefault(name, fallback.get(name, NOT_APPLICABLE))
        values |= twins(space, name, value)
    return {key: str(value) for key, value in values.items()}


def curve_keys(metric: str, objectives: Sequence[str] = ()) -> tuple[str, ...]:
    """Metric keys of a trial that have a value for every epoch."""
    losses = ("loss", "hard_loss", "soft_loss", "active_fraction")
    keys = (f"val_{metric}", *losses, *_COEFFICIENTS, "samples_per_second")
    return tuple(key for key in keys if key not in _left_out(objectives))


def outcome_keys(metric: str, objectives: Sequence[str] = ()) -> tuple[str, ...]:
    """Metric keys of a trial that have one value; costs that are searched have the names that the study has for them.

    Args:
        metric: the study's metric.
        objectives: its costs; of the parameters there is one key.
    """
    keys = (f"best_val_{metric}", "trial_seconds", "cpu_seconds", "gpu_seconds", PARAMETERS)
    return (*(key for key in keys if key not in _left_out(objectives)), *map(cost_key, _measured(objectives)))


def cost_key(objective: str) -> str:
    """The metric key of a cost."""
    return PARAMETERS if objective == "parameters" else f"student_{objective}"


def epoch_metrics(record: EpochRecord, metric: str, objectives: Sequence[str] = ()) -> Metrics:
    """The learning curves: 10 keys at most. How long an epoch took is between the moments of their points."""
    losses = (record.metric, record.loss, record.hard_loss, record.soft_loss, record.active_fraction)
    coefficients = [record.coefficients.get(name) for name in _COEFFICIENTS]
    found = dict(zip(curve_keys(metric), (*losses, *coefficients, record.samples_per_second), strict=True))
    return {key: found[key] for key in curve_keys(metric, objectives)}


def trial_metrics(event: TrialFinished, metric: str, objectives: Sequence[str] = ()) -> Metrics:
    """The outcome: five more keys, or as many as make 15 with the costs that are searched."""
    values = (event.value, event.seconds, event.cpu_seconds, event.gpu_seconds, event.parameters)
    found = dict(zip(outcome_keys(metric), values, strict=True))
    found |= {cost_key(name): event.costs.get(name) for name in _measured(objectives)}
    return {key: found[key] for key in outcome_keys(metric, objectives)}


def _measured(objectives: Sequence[str]) -> list[str]:
    """The costs that need a key of their own."""
    return [name for name in objectives if name != "parameters"]


def _left_out(objectives: Sequence[str]) -> tuple[str, ...]:
    """Keys that make room for costs, for a trial has 15 at most; the ledger has their values."""
    return _MAKE_ROOM[: len(_measured(objectives))]


def rung_tags(event: RungReached) -> dict[str, str]:
    """The last rung that a trial reached, and how it stood at each."""
    needed = "too few peers to judge" if event.threshold is None else f"{event.threshold:.4g} needed"
    verdict = "stopped" if event.stopped else "went on"
    standing = f"{event.value:.4g} at epoch {event.epochs}, {needed}, {event.peers} peers: {verdict}"
    return {"autockd.rung": str(event.rung), f"autockd.rung_{event.rung}": standing}


def outcome_tags(event: TrialFinished) -> dict[str, str]:
    """How a trial ended, and why if it was not complete."""
    tags = {
        "autockd.state": event.state,
        "autockd.reason": event.reason,
        "autockd.rung": "" if event.rung is None else str(event.rung),
        "autockd.best_epoch": "" if event.best_epoch is None else str(event.best_epoch),
        "autockd.micro_batches": str(event.micro_batches) if event.micro_batches > 1 else "",
        "autockd.weights": event.weights or "",
    }
    return {key: value for key, value in tags.items() if value}


def evaluation_metrics(event: Evaluated, metric: str) -> Metrics:
    """One final model on both splits, under `teacher`, `best`, `picked`, or a baseline's label."""
    whose = event.label if event.subject == "baseline" or event.label == "picked" else event.subject
    return {
        f"val_{metric}_{whose}": event.validation,
        f"test_{metric}_{whose}": event.test,
        f"parameters_{whose}": event.parameters,
        f"bytes_{whose}": event.bytes,
    }


def finalist_metrics(finalists: Sequence[Finalist], metric: str, direction: Direction) -> Metrics:
    """Means over fresh seeds, and deviations: under `best` for the winner, its method's `preset`, baselines' methods.

    So the same keys say the same of every study; the other finalists stand in its note.
    """
    winner = winner_of(finalists, direction)
    if winner is None:  # then the search's own students were tested instead
        return {}
    found: Metrics = {"finalist_seeds": len(winner.seeds)}
    for finalist in finalists:
        whose = {"baseline": finalist.method, "default": "preset"}.get(finalist.role, "")
        if whose == "preset" and finalist.arm != winner.arm:  # where methods are compared, each has one
            continue
        for name in (whose, "best" if finalist == winner else ""):
            if name and f"val_{metric}_{name}" not in found:
                found |= _over_seeds(f"val_{metric}_{name}", finalist.validation)
                found |= _over_seeds(f"test_{metric}_{name}", finalist.test)
    return found


def fresh_metrics(finalist: Finalist, metric: str) -> Metrics:
    """What a trial's configuration has with fresh seeds, for its run: means on both splits, as far as known."""
    splits = zip(fresh_keys(metric), (finalist.validation, finalist.test), strict=True)
    return {key: mean_and_deviation(values)[0] for key, values in splits if values}


def fresh_keys(metric: str) -> tuple[str, str]:
    """Metric keys that a finalist's run has beyond the 15 of every trial."""
    return f"fresh_val_{metric}", f"fresh_test_{metric}"


def finalist_tags(finalist: Finalist, winner: Finalist | None) -> dict[str, str]:
    """What a trial was when its configuration ran again, for its run."""
    role = {"baseline": "baseline", "default": "preset"}.get(finalist.role, "finalist")
    seeds = ", ".join(map(str, finalist.seeds))
    return {"autockd.finalist": "winner" if finalist == winner else role, "autockd.fresh_seeds": seeds}


def _over_seeds(key: str, values: Sequence[float]) -> Metrics:
    if not values:
        return {}
    mean, deviation = mean_and_deviation(values)
    return {key: mean, f"{key}_sd": deviation}


def export_tags(event: Exported) -> dict[str, str]:
    """Where the bundle is, its hash, and the trial, and the fresh seed, that it is of."""
    tags = {"autockd.bundle": event.bundle, "autockd.manifest": event.manifest_hash}
    tags["autockd.exported_trial"] = str(event.trial)
    return tags if event.seed is None else tags | {"autockd.exported_seed": str(event.seed)}


def study_metrics(event: StudyFinished, metric: str) -> Metrics:
    """Counts of trials, the best value, and wall seconds by stage."""
    return {
        "trials_complete": event.complete,
        "trials_pruned": event.pruned,
        "trials_failed": event.failed,
        f"best_val_{metric}": event.best_value,
        **{f"seconds_{stage}": seconds for stage, seconds in event.seconds.items()},
    }


def _fields(section: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: section[field] for name, field in names.items() if section.get(field) is not None}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)
