"""Where a trial's student comes from, as its bundle says it: teacher, plan, run, budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autockd.config.models import Encoder, ModelConfig
from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig
from autockd.export.card import architecture_text
from autockd.export.card_metadata import is_hub_id
from autockd.export.description import Budget, TeacherSummary
from autockd.summary import StudySummary


def describe_origin(config: StudyConfig, trial: TrialConfig, summary: StudySummary) -> dict[str, Any]:
    """Fields of a `BundleConfig`, all but what the student is and how it was judged.

    Args:
        config: the study.
        trial: the configuration of the student's trial.
        summary: of the study so far.
    """
    teacher_id = _hub_id(config.teacher.model)
    from_teacher = isinstance(trial.student, Encoder) and trial.student.path is None
    return {
        "plan": trial.method,
        "training": trial.training,
        "teacher": _taught_by(config, trial, summary, teacher_id),
        "budget": Budget(
            trials=len(summary.trials),
            fresh_runs=len(summary.finalists),
            epochs=sum(row.epochs for row in summary.trials) + sum(run.epochs for run in summary.finalists),
            trial_seconds=sum(row.seconds or 0.0 for row in summary.trials)
            + sum(run.seconds for run in summary.finalists),
        ),
        "licence": config.export.licence,
        "hub_id": teacher_id if from_teacher else _hub_id(trial.student),
    }


def _taught_by(
    config: StudyConfig, trial: TrialConfig, summary: StudySummary, hub_id: str | None
) -> TeacherSummary | None:
    """The teacher, or the assistant where the trial's method learns from that."""
    if trial.method.name != "takd" or config.assistant is None or summary.assistant is None:
        return _teacher(config, summary, hub_id)
    own, origin = (architecture_text(each.model) for each in (config.assistant, config.teacher))
    return TeacherSummary(
        model=f"{own}, an assistant that learned from {origin}",
        hub_id=_hub_id(config.assistant.model) or hub_id,
        parameters=summary.assistant.parameters,
        validation=summary.assistant.metric,
    )


def _teacher(config: StudyConfig, summary: StudySummary, hub_id: str | None) -> TeacherSummary | None:
    if (record := summary.teacher) is None:
        return None
    scored = next((scored for scored in summary.evaluated if scored.subject == "teacher"), None)
    return TeacherSummary(
        model=architecture_text(config.teacher.model),
        hub_id=hub_id,
        parameters=record.parameters,
        validation=scored.validation if scored else record.metric,
        test=scored.test if scored else None,
    )


def _hub_id(model: ModelConfig) -> str | None:
    """The hub's name of what an encoder started from; None for a folder, and for fresh weights."""
    if not isinstance(model, Encoder) or model.path is None or model.initial == "random":
        return None
    return model.path if is_hub_id(model.path) and not Path(model.path).exists() else None
