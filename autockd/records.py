"""What a study writes down: typed, frozen, JSON in and out. The ledger is a sequence of the events below.

Metrics are fractions (accuracy 0.95, not 95), times are seconds, moments are Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from autockd.limits import Bound, Peaks, Work

TrialState = Literal["complete", "pruned", "failed"]
TrialRole = Literal["baseline", "default", "enqueued", "sampled"]
SplitName = Literal["validation", "test"]


class Record(BaseModel):
    """Base of all records: frozen, unknown keys refused; a NaN survives the way through JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class EpochRecord(Record):
    """One epoch of a training run."""

    epoch: int
    """1-based."""
    step: int
    """Training steps taken so far."""
    metric: float
    """Validation metric after this epoch."""
    best_metric: float
    best_epoch: int
    loss: float
    """Mean over the epoch's samples of the training objective."""
    hard_loss: float
    soft_loss: float | None = None
    """None where the method has no soft loss."""
    active_fraction: float | None = None
    """Share of samples whose hinge is active; None where there is no hinge."""
    coefficients: dict[str, float] = {}
    """The plan's row at the epoch's last step: hard_weight (psi), smoothing (phi), margin, learning_rate, ..."""
    train_seconds: float
    evaluate_seconds: float
    samples_per_second: float
    """Training samples per second of training."""
    tokens_per_second: float | None = None
    """Of real tokens, padding left out; None for images."""


class PrecisionChoice(Record):
    """Which arithmetic a training step uses, and why."""

    precision: Literal["fp32", "bf16"]
    channels_last: bool
    threads: int
    device: str
    reason: str


class Provenance(Record):
    """Where and with what a study ran."""

    autockd: str
    python: str
    platform: str
    host: str
    cpus: int
    gpus: tuple[str, ...]
    versions: dict[str, str]
    git_commit: str | None
    """Commit of the working folder's repository, with `+dirty` where files differ from it; None outside one."""


class TeacherRecord(Record):
    """A teacher that is ready to teach."""

    weights_hash: str
    """SHA-256 of its tensors."""
    weights_path: str
    parameters: int
    bytes: int
    """Size of its weights file."""
    metric: float
    """On the validation split."""
    second_moment: float
    """E[z_T^2]: mean over training images (no augmentation) and classes of the squared logits."""
    origin: Literal["given", "trained", "cached"]
    precision: PrecisionChoice | None = None
    """Arithmetic of its training; None where it was not trained now."""
    seconds: float


class BankRecord(Record):
    """The bank of teacher logits at one moment."""

    key: str
    entries: int
    filled: int
    hits: int
    misses: int
    seconds: float
    checked: int
    """Entries compared with the live teacher."""
    max_difference: float
    """Largest absolute difference found by that check."""
    work: Work | None = None
    """What it took to compute the entries that were missing."""


class Diagnosis(Record):
    """How a classifier's predictions on the test split are wrong, and how far they are the teacher's."""

    ece: float
    """Expected calibration error: mean gap of confidence and accuracy over the bins, weighed by their samples."""
    confidence: tuple[float, ...]
    """Mean confidence of each of the equally wide bins of 0..1; 0 where a bin is empty."""
    accuracy: tuple[float, ...]
    """Share of right predictions in each bin."""
    counts: tuple[int, ...]
    """Samples in each bin."""
    class_accuracy: tuple[float, ...]
    """Share of right predictions among the samples of each class."""
    class_agreement: tuple[float, ...]
    """Share of predictions that are the teacher's, among the samples of each class."""
    agreement: float
    """The same over all samples."""


class TrialOutcome(Record):
    """How a trial ended."""

    state: TrialState
    value: float | None = None
    """The best epoch's validation metric; None where the trial failed."""
    best_epoch: int | None = None
    epochs: int = 0
    """Epochs that were trained."""
    seconds: float = 0.0
    """Wall time of its training, evaluation and start, on every worker that it ran on."""
    cpu_seconds: float = 0.0
    """Time on CPU cores, all threads together."""
    gpu_seconds: float = 0.0
    """Wall time multiplied by its share of a GPU."""
    parameters: int | None = None
    """Of the student."""
    reason: str = ""
    """Why it failed or was stopped."""
    weights: str | None = None
    """The best epoch's weights, relative to the study's folder."""
    bank_hits: int = 0
    bank_misses: int = 0
    rung: int | None = None
    """The rung at which it was stopped; None where no rung stopped it."""
    micro_batches: int = 1
    """Parts that a batch was computed in: 2 after its memory ran out once, with gradients accumulated."""
    costs: dict[str, float] = {}
    """Of the student, by the names of `search.objectives`, where the study has some."""
    work: Work | None = None
    """What its training took at the least; None where that could not be counted."""


class RungResult(Record):
    """A trial's standing at a rung, the point of its run where it is compared with others."""

    rung: int
    """1-based: the first rung is the cheapest."""
    epochs: int
    """Length of the run so far (`fraction`), or of the compressed run that ended here (`ladder`)."""
    value: float
    """Best validation metric so far, or of that compressed run."""


class TrialReport(Record):
    """What a worker tells the driver: epochs since its last report, perhaps a rung, and, at the end, the outcome."""

    trial: int
    records: tuple[EpochRecord, ...] = ()
    rung: RungResult | None = None
    seconds: float = 0.0
    """As in TrialOutcome, so far; likewise the two below."""
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    outcome: TrialOutcome | None = None


class StudyStarted(Record):
    """The first event of a study."""

    event: Literal["study_started"] = "study_started"
    time: float
    study: str
    config: dict[str, Any]
    config_hash: str
    metric: str
    """Name of the validation metric, such as accuracy."""
    direction: Literal["maximize", "minimize"]
    task_fingerprint: str
    provenance: Provenance
    classes: tuple[str, ...] = ()
    """Name of each class, by index; empty where targets are scores, and in ledgers of older versions."""


class StudyResumed(Record):
    """The study goes on after a stop; what was running goes on too."""

    event: Literal["study_resumed"] = "study_resumed"
    time: float
    config: dict[str, Any]
    """The whole configuration, now."""
    changes: tuple[str, ...] = ()
    """What differs from before, such as `search.trials: 24 -> 48`; nothing that would change a trial."""
    provenance: Provenance


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
    """The teacher's logits are in the bank, or were counted at the end."""

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


class Evaluated(Record):
    """One final model on both splits."""

    event: Literal["evaluated"] = "evaluated"
    time: float
    subject: Literal["teacher", "baseline", "best", "finalist"]
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
    """Wall time by stage: start, data, teacher, bank, search, finalists, evaluate, export."""
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
