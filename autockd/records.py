"""What a study writes down: typed, frozen, JSON in and out. The ledger is a sequence of the events below.

Metrics are fractions (accuracy 0.95, not 95), times are seconds, moments are Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from autockd.facts import (
    BankRecord,
    Diagnosis,
    Direction,
    EpochRecord,
    Precision,
    PrecisionChoice,
    Provenance,
    RungResult,
    TeacherRecord,
    TrialOutcome,
    TrialReport,
    TrialState,
)
from autockd.limits import Bound, Peaks, Record

TrialRole = Literal["baseline", "default", "enqueued", "sampled"]


class StudyStarted(Record):
    """The first event of a study."""

    event: Literal["study_started"] = "study_started"
    time: float
    study: str
    config: dict[str, Any]
    config_hash: str
    metric: str
    """Name of the validation metric, such as accuracy."""
    direction: Direction
    task_fingerprint: str
    test_fingerprint: str = ""
    """Of the test split, which nobody sees before it is opened; empty in ledgers of older versions."""
    provenance: Provenance
    classes: tuple[str, ...] = ()
    """Name of each class, by index; empty where targets are scores, and in ledgers of older versions."""
    tracking_uri: str = ""
    """Of the MLflow that it is written to, without credentials; empty without one, and in ledgers of older versions."""


class StudyResumed(Record):
    """The study goes on after a stop; what was running goes on too."""

    event: Literal["study_resumed"] = "study_resumed"
    time: float
    config: dict[str, Any]
    """The whole configuration, now."""
    changes: tuple[str, ...] = ()
    """What differs from before, such as `search.trials: 24 -> 48`; nothing that would change a trial."""
    provenance: Provenance
    tracking_uri: str = ""
    """Of the MLflow that it is written to from here on, as of `StudyStarted`."""


class Noted(Record):
    """A choice that the program made, or something the user should know, in a sentence."""

    event: Literal["noted"] = "noted"
    time: float
    kind: Literal["choice", "warning", "progress"]
    """`progress` is shown, and never written down."""
    text: str


class TeacherReady(Record):
    """The teacher is loaded or trained, and evaluated."""

    event: Literal["teacher_ready"] = "teacher_ready"
    time: float
    teacher: TeacherRecord


class AssistantReady(Record):
    """The assistant is loaded, or has learned from the teacher, and is evaluated."""

    event: Literal["assistant_ready"] = "assistant_ready"
    time: float
    assistant: TeacherRecord


class BankReady(Record):
    """The logits of the teacher, or of the assistant, are in the bank."""

    event: Literal["bank_ready"] = "bank_ready"
    time: float
    bank: BankRecord
    whose: Literal["teacher", "assistant"] = "teacher"


class PrecisionChosen(Record):
    """The arithmetic of all trials is decided."""

    event: Literal["precision_chosen"] = "precision_chosen"
    time: float
    choice: PrecisionChoice
    peaks: Peaks | None = None
    """What one worker can do at most."""
    parallel: int = 1
    """Workers at a time."""
    gpus: float = 0.0
    """GPUs of a worker, perhaps a fraction: trials then share what `peaks` says, which one had to itself."""


class TrialStarted(Record):
    """A trial was proposed and given to a worker."""

    event: Literal["trial_started"] = "trial_started"
    time: float
    trial: int
    role: TrialRole
    method: str
    params: dict[str, bool | int | float | str]
    """The point of the space; empty for a baseline."""
    config: dict[str, Any]
    """The whole TrialConfig."""
    fingerprint: str
    conventions: str
    """How the method's losses are scaled and reduced."""
    arm: str = ""
    """The compared method that it belongs to; empty in a study that compares none."""


class EpochFinished(Record):
    """A trial has trained one more epoch."""

    event: Literal["epoch_finished"] = "epoch_finished"
    time: float
    trial: int
    record: EpochRecord


class RungReached(RungResult):
    """A trial was compared with its peers at a rung, and went on or was stopped."""

    event: Literal["rung_reached"] = "rung_reached"
    time: float
    trial: int
    peers: int
    """Other trials that it was compared with."""
    threshold: float | None = None
    """What it had to reach to go on; None where there were too few peers to judge."""
    stopped: bool
    reason: str = ""
    """Why it was stopped, in a sentence."""


class TrialFinished(TrialOutcome):
    """The last event of a trial."""

    event: Literal["trial_finished"] = "trial_finished"
    time: float
    trial: int


class FinalistsChosen(Record):
    """The search is over: which trials run again, and with which fresh seeds. A later choice replaces it."""

    event: Literal["finalists_chosen"] = "finalists_chosen"
    time: float
    trials: tuple[int, ...]
    seeds: tuple[int, ...]
    barred: tuple[int, ...] = ()
    """Those of the trials that break the study's `export.pick`: they run to compare with, and cannot win."""


class FinalistFinished(TrialOutcome):
    """A finalist ran to its end with one fresh seed."""

    event: Literal["finalist_finished"] = "finalist_finished"
    time: float
    trial: int
    """The trial of the search whose configuration it is."""
    seed: int


class TestOpened(Record):
    """The test split was handed to the final evaluation; stands in the ledger before any test metric does."""

    __test__ = False

    event: Literal["test_opened"] = "test_opened"
    time: float
    subjects: tuple[str, ...]
    test_fingerprint: str = ""
    """SHA-256 of the test split: metrics on equal ones compare."""


SubjectKind = Literal["teacher", "baseline", "best", "finalist"]
"""What a final model is: `best` is the search's, or the one that was picked; `baseline` is also the best of a compared
method that did not win."""


class Evaluated(Record):
    """One final model on both splits."""

    event: Literal["evaluated"] = "evaluated"
    time: float
    subject: SubjectKind
    label: str
    """Such as `teacher`, `none`, `continuation`; of a finalist, `trial 12, seed 3`."""
    trial: int | None
    seed: int | None = None
    """The fresh seed of a finalist's run; None for what the search itself trained."""
    validation: float
    test: float
    parameters: int
    bytes: int
    """Size of the weights as safetensors."""
    others: dict[str, float] = {}
    """Further test splits, by name, such as `mismatched`."""
    diagnosis: Diagnosis | None = None
    """None for a regression."""


class Exported(Record):
    """A bundle was written and verified."""

    event: Literal["exported"] = "exported"
    time: float
    trial: int
    seed: int | None = None
    """The fresh seed of the run that was exported; None for the search's own student."""
    bundle: str
    manifest_hash: str


class StudyFinished(Record):
    """The last event of a study."""

    event: Literal["study_finished"] = "study_finished"
    time: float
    complete: int
    pruned: int
    failed: int
    best_trial: int | None
    best_value: float | None
    seconds: dict[str, float]
    """Wall time by stage: data, start, probe, teacher, assistant, bank, costs, search, finalists, evaluate, export,
    tracking; and of all of it: total."""
    split: dict[str, float] = {}
    """The same time by what it went into: start-up, data, teacher, training, evaluation, finalists, tracking,
    export, waiting."""
    bound: Bound | None = None
    """None where the peaks or the work are not known."""


Event = Annotated[
    StudyStarted
    | StudyResumed
    | Noted
    | TeacherReady
    | AssistantReady
    | BankReady
    | PrecisionChosen
    | TrialStarted
    | EpochFinished
    | RungReached
    | TrialFinished
    | FinalistsChosen
    | FinalistFinished
    | TestOpened
    | Evaluated
    | Exported
    | StudyFinished,
    Field(discriminator="event"),
]

EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads any event back from JSON."""

__all__ = [
    "EVENTS",
    "AssistantReady",
    "BankReady",
    "BankRecord",
    "Diagnosis",
    "EpochFinished",
    "EpochRecord",
    "Evaluated",
    "Event",
    "Exported",
    "FinalistFinished",
    "FinalistsChosen",
    "Noted",
    "Precision",
    "PrecisionChoice",
    "PrecisionChosen",
    "Provenance",
    "Record",
    "RungReached",
    "RungResult",
    "StudyFinished",
    "StudyResumed",
    "StudyStarted",
    "TeacherReady",
    "TeacherRecord",
    "TestOpened",
    "TrialFinished",
    "TrialOutcome",
    "TrialReport",
    "TrialRole",
    "TrialStarted",
    "TrialState",
]
