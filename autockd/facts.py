"""What events are made of: facts about runs, teachers, banks, machines. `records` has these classes too.

Metrics are fractions (accuracy 0.95, not 95), times are seconds.
"""

from __future__ import annotations

from typing import Literal

from autockd.limits import Record, Work

TrialState = Literal["complete", "pruned", "failed"]

Direction = Literal["maximize", "minimize"]
"""Where a metric is better."""


def sign_of(direction: Direction) -> int:
    """What a metric is multiplied by so that more is better."""
    return 1 if direction == "maximize" else -1


Precision = Literal["fp32", "bf16"]
"""Arithmetic of matrix products and convolutions; all else is fp32."""


class EpochRecord(Record):
    """One epoch of a training run."""

    epoch: int
    """1-based."""
    step: int
    """Training steps taken so far."""
    metric: float
    """Validation metric after this epoch, in the arithmetic of the training; final scores are in fp32."""
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

    precision: Precision
    channels_last: bool
    threads: int
    device: str
    reason: str
    alone: float | None = None
    """Seconds of processor time that such a step takes on one thread of a CPU; None where it was not timed."""
    memory: int | None = None
    """Bytes that a worker of such trials has for itself at the most, on a CPU; None where that is not known."""


class Provenance(Record):
    """Where and with what a study ran."""

    autockd: str
    python: str
    platform: str
    host: str
    cpu: str = ""
    """The processor's name."""
    cpus: int
    gpus: tuple[str, ...]
    versions: dict[str, str]
    git_commit: str | None
    """Commit of the working folder's repository, with `+dirty` where files differ from it; None outside one."""


class TeacherRecord(Record):
    """A teacher that is ready to teach."""

    weights_hash: str
    """SHA-256 of its tensors."""
    reading: str = ""
    """SHA-256 of an encoder's configuration and tokenizer; empty for images."""
    weights_path: str
    parameters: int
    bytes: int
    """Size of its weights file."""
    metric: float
    """On the validation split."""
    second_moment: float | None = None
    """E[z_T^2]: mean over training samples (no augmentation) and classes of the squared logits; None where no trial of
    the study may have a margin, which is all that it is for."""
    answers: Precision = "fp32"
    """Arithmetic in which it answers."""
    answers_difference: float = 0.0
    """Largest difference of its answers in bf16 to those in fp32, found on some samples, relative to the largest logit;
    0 where it was not to answer in bf16."""
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
    """Wall time of its training, evaluation and start, on every worker that it ran on; what a lost one did after its
    last checkpoint is not in it."""
    cpu_seconds: float = 0.0
    """Time on CPU cores, all threads together."""
    gpu_seconds: float = 0.0
    """Wall time multiplied by its share of a GPU."""
    parameters: int | None = None
    """Of the student."""
    reason: str = ""
    """Why it failed or was stopped."""
    of_its_point: bool = False
    """Whether it failed by its own values, as by a loss that diverged: the sampler is to keep away from them."""
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
    work: Work | None = None
    """Likewise, of its own run: of one that was compressed for a rung nothing is counted."""
    outcome: TrialOutcome | None = None
    problem: str = ""
    """Of the machine, such as a full disk: the study ends here, and the trial stays open, to go on when it resumes."""
