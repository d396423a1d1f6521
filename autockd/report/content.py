"""Everything that a report says, as one record: report.json."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

from autockd.facts import Direction, sign_of
from autockd.records import Provenance, Record
from autockd.summary import TrialRow
from autockd.verdicts import PairedComparison

Kind = Literal["teacher", "baseline", "preset", "winner", "candidate"]
"""What a model is in a study: `preset` is the study's own values, `candidate` a trial that did not win."""

STATES = {"complete": "complete", "pruned": "stopped early", "failed": "failed", "running": "not ended"}
"""What states of trials are called."""


class Standing(Record):
    """One line of the comparison: a model with all that was measured of it."""

    name: str
    kind: Kind
    trial: int | None = None
    method: str = ""
    arm: str = ""
    searched: float | None = None
    """Validation metric under the seed of the search; of the teacher, its own."""
    seeds: tuple[int, ...] = ()
    """Fresh seeds; empty where nothing ran again."""
    validation: tuple[float, ...] = ()
    """Of each fresh seed."""
    test: tuple[float, ...] = ()
    """Of each fresh seed; without these, of the search's own model alone; empty where the test split is closed."""
    parameters: int | None = None
    bytes: int | None = None
    costs: dict[str, float] = {}
    was_stopped: bool = False
    """Whether the search stopped it early, so that `searched` is not of a whole run."""
    against_none: PairedComparison | None = None
    """Against the student without distillation, over the fresh seeds of both."""
    against_preset: PairedComparison | None = None


class ArmStanding(Record):
    """One of the compared methods: what its part of the search came to."""

    arm: str
    trials: int
    complete: int
    best_trial: int | None
    best_value: float | None


class Curve(Record):
    """The validation metric of a trial after each of its epochs."""

    name: str
    kind: Kind
    trial: int
    epochs: tuple[int, ...]
    values: tuple[float, ...]


class PlanTrack(Record):
    """What a trial's plan did, at the last step of each epoch, and what was measured of its hinge."""

    name: str
    kind: Kind
    trial: int
    epochs: tuple[int, ...]
    columns: dict[str, tuple[float | None, ...]]
    active_fraction: tuple[float | None, ...]


class RungStep(Record):
    """How trials fared at one rung."""

    rung: int
    epochs: int
    reached: int
    stopped: int
    lowest_threshold: float | None
    highest_threshold: float | None


class DiagnosisRow(Record):
    """A model's errors on the test split; of several seeds, bins are added up and shares are means."""

    name: str
    kind: Kind
    seeds: int
    ece: tuple[float, ...]
    """Of each seed."""
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    counts: tuple[int, ...]
    class_accuracy: tuple[float, ...]
    class_agreement: tuple[float, ...]
    agreement: float


class ImportanceRecord(Record):
    """How much of the metric's variation each dimension explains."""

    shares: dict[str, float] = {}
    """Of the explained variation, the largest first; they add up to 1."""
    trials: int
    """Trials that it is judged by."""
    left_out: tuple[str, ...] = ()
    """Dimensions that cannot be judged, because some of these trials are without them."""
    problem: str = ""
    """Why there are no shares; empty where there are."""
    few: bool = True
    """Whether there are so few trials that the order may be chance."""


class Spent(Record):
    """Time that a group of runs took."""

    what: str
    runs: int
    seconds: float
    cpu_seconds: float
    gpu_seconds: float


class Cost(Record):
    """What a study took."""

    stages: dict[str, float]
    """Wall seconds by stage, of the study's last session."""
    sessions: int
    spent: tuple[Spent, ...]


class ReportContent(Record):
    """A study as its report tells it, made of its ledger alone."""

    study: str
    note: str
    finished: bool
    metric: str
    direction: Direction
    task: str
    """The data set, in words."""
    task_fingerprint: str
    config_hash: str
    classes: tuple[str, ...]
    seed: int
    asked: int
    started: float
    ended: float
    """When the last event was written."""
    summary: tuple[str, ...] = ()
    """What came of it, in sentences."""
    caveats: tuple[str, ...] = ()
    """What must not be read into it, in sentences."""
    luck: str = ""
    """How much of the search's best value fresh seeds do not give again; empty where nothing ran again."""
    failed_runs: tuple[int, int] = (0, 0)
    """Runs with fresh seeds that have no student, of how many."""
    judged_on: Literal["test", "validation"]
    """The split that models are compared on."""
    standings: tuple[Standing, ...]
    arms: tuple[ArmStanding, ...] = ()
    trials: tuple[TrialRow, ...]
    space: dict[str, dict[str, Any]]
    objectives: tuple[str, ...] = ()
    front: tuple[int, ...] = ()
    """Trials of the Pareto front, the best metric first; empty without objectives."""
    beaten: tuple[int, ...] = ()
    """Those of them that a baseline beats, or equals in all."""
    importance: ImportanceRecord
    plans: tuple[PlanTrack, ...] = ()
    curves: tuple[Curve, ...] = ()
    rungs: tuple[RungStep, ...] = ()
    diagnoses: tuple[DiagnosisRow, ...] = ()
    cost: Cost
    provenance: Provenance
    device: str = ""
    precision: str = ""
    precision_reason: str = ""
    parallel: int | None = None
    """Trials at a time, of the study's last session."""
    conventions: dict[str, str] = {}
    """How each method's losses are scaled and reduced; where methods are compared, by arm."""
    notes: tuple[str, ...] = ()
    """Choices of the program, and its warnings, as they were recorded."""
    test_opened: tuple[float, ...] = ()
    """When the test split was handed to an evaluation."""
    exported: str = ""
    """Which run the bundle is of."""

    def of_kind(self, kind: Kind) -> Standing | None:
        """The first standing of a kind."""
        return next((standing for standing in self.standings if standing.kind == kind), None)

    @property
    def undistilled(self) -> Standing | None:
        """The student without distillation."""
        return undistilled_among(self.standings, self.direction)

    @property
    def preset(self) -> Standing | None:
        """The study's own values, of the winner's method; None where they won, or have no student."""
        return preset_among(self.standings)

    @property
    def has_seeds(self) -> bool:
        """Whether anything ran again with fresh seeds."""
        return any(standing.seeds for standing in self.standings)


def undistilled_among(standings: Sequence[Standing], direction: Direction) -> Standing | None:
    """The student without distillation: the baseline, or the best by validation where that is a method like others."""
    same = [standing for standing in standings if standing.method == "none"]
    baseline = next((standing for standing in same if standing.kind == "baseline"), None)
    sign = sign_of(direction)

    def worth(standing: Standing) -> float:
        known = standing.validation or (() if standing.searched is None else (standing.searched,))
        return sign * statistics.fmean(known) if known else -math.inf

    return baseline or max(same, key=worth, default=None)


def preset_among(standings: Sequence[Standing]) -> Standing | None:
    """The study's own values; where methods are compared, those of the winner's method."""
    winner = next((standing for standing in standings if standing.kind == "winner"), None)
    presets = [standing for standing in standings if standing.kind == "preset"]
    return next((preset for preset in presets if winner is None or preset.arm == winner.arm), None)
