"""StudyConfig: everything that a study file may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    PositiveInt,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from autockd.config.base import Config, Seconds
from autockd.config.methods import ContinuationKD, HintonKD, MethodConfig, NoDistillation
from autockd.config.models import ModelConfig
from autockd.config.pick import parse_pick
from autockd.config.space import Choice, Space, Value
from autockd.config.tasks import TEXT_SOURCES, TaskConfig
from autockd.config.text_defaults import with_text_defaults
from autockd.config.training import TrainingConfig, require_restorable

Objective = Literal["latency_ms", "latency_ms_batch32", "parameters", "bytes"]
"""Costs of a student: milliseconds of one onnxruntime call on one CPU thread with 1 or with 32 samples, parameters,
bytes of its weights."""


_TEACHING: Mapping[str, Any] = {"learning_rate": 0.1, "batch_size": 128}
"""Of a teacher; He et al. (2016), section 4.2."""


class TeacherConfig(Config):
    """The teacher: given by its weights, or trained once by its own recipe and reused by later studies."""

    model: ModelConfig
    """Its architecture; `weights` in it makes it a given teacher."""
    training: TrainingConfig = TrainingConfig(**_TEACHING)
    """The recipe, where no weights are given; without a batch size it has 128, and SGD without a learning rate 0.1."""
    seed: int = Field(default=0, ge=0)
    """Seed of its initialisation."""

    @field_validator("training", mode="wrap")
    @classmethod
    def _has_defaults_of_a_teacher(cls, given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(given, Mapping):
            return validate(given)
        is_sgd = given.get("optimizer", "sgd") == "sgd"
        training = validate({**(_TEACHING if is_sgd else {"batch_size": _TEACHING["batch_size"]}), **given})
        training.model_fields_set.intersection_update(given)  # what was filled in, nobody has set
        return training

    @model_validator(mode="after")
    def _rows_can_be_put_back(self) -> Self:
        require_restorable(self.model, self.training)
        return self


class AssistantConfig(TeacherConfig):
    """The assistant of `takd`: a net between teacher and student, which learns from the one and teaches the other."""

    method: HintonKD = HintonKD()
    """How it learns from the teacher, where no weights are given."""


class StudentConfig(Config):
    """The student: its architecture, before the search varies it."""

    model: ModelConfig
    """Its architecture and, optionally, the weights to start from."""


class StoppingConfig(Config):
    """When a trial is stopped early: after a share of its own run, if it is not among the best that came so far.

    A trial is judged by the validation metric alone, never by a loss, whose weights its own schedule changes.
    """

    rule: Literal["none", "fraction", "ladder"] = "none"
    """`fraction` judges a run at shares of its length, `ladder` judges whole schedules compressed to such shares."""
    reduction_factor: int = Field(default=3, ge=2)
    """One in so many goes on at each rung; rungs stand at 1/f, 1/f^2, ... of the run."""
    rungs: int = Field(default=2, ge=1, le=4)
    """Rungs before the end of the run."""
    min_peers: int = Field(default=3, ge=3)
    """Other trials that must have passed a rung before any is stopped there."""


class SearchConfig(Config):
    """What to search, how, and how long."""

    trials: PositiveInt = 50
    """Trials in all, with the baselines and the enqueued ones."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """Optuna's multivariate, grouped TPE, its NSGA-II, or random search; each for one objective or several."""
    space: Space = {}
    """Dimensions by name: fields of the method or of `training`, `student_depth`, `student_width`, `student_layers`,
    or `method`."""
    baselines: tuple[MethodConfig, ...] = (NoDistillation(),)
    """Methods run first, outside the space, to compare with; the rest of their configuration is the study's."""
    enqueue_defaults: bool = True
    """Whether the study's own values (a preset of the paper, say) make the first trial in the space."""
    enqueue: tuple[dict[str, Value], ...] = ()
    """Further points of the space to try first; dimensions left out are sampled."""
    stopping: StoppingConfig = StoppingConfig()
    """When a trial is stopped early."""
    objectives: tuple[Objective, ...] = ()
    """Costs of a student to keep low beside the metric; the search is then for their Pareto front."""
    time_budget: Seconds | None = Field(default=None, gt=0)
    """Wall time of the search, resumed parts added up: seconds, or text such as 90s, 30m or 2h; null is unlimited.
    Teacher, the start of workers, finalists and export do not count."""


class FinalistsConfig(Config):
    """What runs again with fresh seeds once the search is over, so that its luck is not taken for its merit.

    The finalists are the best trials, the baselines, and the study's own values. None of their runs is stopped early.
    The test split is opened when they are over, for them and the teacher alone; until then both fields may change.
    """

    seeds: int = Field(default=0, ge=0, le=100)
    """Fresh seeds, each of which every finalist runs with: the numbers after the study's own. They set weights and
    dropout; the order of the data stays the task's. 0 takes the search's own students to the test split."""
    top: PositiveInt = 3
    """How many of the best trials are finalists; where methods are compared, of each method."""


class ResourceConfig(Config):
    """Where trials run. Null lets the program choose; it prints and records the choice with its reason."""

    address: str = "local"
    """`local` starts Ray on this machine alone; otherwise the address of a Ray cluster, or `auto`."""
    parallel_trials: PositiveInt | None = None
    """Trials at a time; null is as many as there are cores, or GPUs, and memory for."""
    cpus_per_trial: PositiveInt = 1
    """CPU cores of a trial."""
    gpus_per_trial: float | None = Field(default=None, ge=0)
    """Share of a GPU for each trial, 0 to 1. Null is 0 on a machine without one, else the largest share with which as
    many trials run at a time as may: four at most on each GPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of training; auto times a step, once for a study on such a machine; fp32 or bf16 repeats anywhere."""
    teacher_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic in which a teacher answers; auto is that of the trials, and fp32 where bf16 comes not close enough."""
    cuda_graphs: bool = False
    """Whether trials on images record a whole training step on a GPU (a CUDA graph) and repeat it."""
    max_failures: int = Field(default=2, ge=0)
    """How often a trial whose worker died or hung starts again from its checkpoint."""
    trial_timeout: Seconds | None = Field(default=None, gt=0)
    """Wall time of a trial, looked at after each epoch; one that took longer fails. Seconds, or text such as 30m."""
    hang_factor: float = Field(default=10, gt=1)
    """A worker that is silent for so many times the longest epoch of such a student so far (a minute at least, and two
    hours before any is known) is started again."""
    profile: bool = False
    """Whether the first trial after the baselines leaves a trace of some of its steps, trials/NNNN/trace.json."""


class TrackingConfig(Config):
    """Where MLflow records the study."""

    enabled: bool = True
    """Whether to record in MLflow at all; the study's ledger is always written."""
    uri: str | None = None
    """Tracking URI; null is that of MLFLOW_TRACKING_URI, or else a SQLite database beside the studies. The path of
    `sqlite:///mlflow.db` counts from the study file. Credentials come from the environment alone."""
    experiment: str | None = None
    """Experiment name; null is the task's name."""

    @field_validator("uri")
    @classmethod
    def _holds_no_password(cls, uri: str | None) -> str | None:
        if uri is not None and urlsplit(uri).password is not None:
            raise ValueError(
                "a tracking URI must not hold a password, for it is written down with the study; leave it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        return uri


def _word(pattern: str, rule: str) -> AfterValidator:
    """That a text is of a form, and what is said of that form where it is not."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {rule}, not {text!r}")
        return text

    return AfterValidator(check)


Licence = Annotated[str, _word(r"[a-z0-9][a-z0-9.+-]{0,63}", "small letters and digits with .+- after the first")]
"""A licence's identifier as the Hugging Face hub has them, such as apache-2.0, mit, cc-by-4.0, or other."""


class ExportConfig(Config):
    """What the bundle of the best student holds."""

    onnx: bool = True
    """Whether to write and check an ONNX model too."""
    pick: str = ""
    """Which student: the best by metric that fulfils this, such as `latency_ms <= 2`; empty is the best of all."""

    @field_validator("pick")
    @classmethod
    def _can_be_read(cls, pick: str) -> str:
        parse_pick(pick)
        return pick

    int8: bool = False
    """Whether to write an int8 ONNX model beside it, and measure both: metric, size and latency."""
    licence: Licence | None = None
    """Licence of the student for its model card, such as apache-2.0; null says that none is stated."""

    @model_validator(mode="after")
    def _int8_is_made_from_onnx(self) -> Self:
        if self.int8 and not self.onnx:
            raise ValueError("int8 is made from the ONNX model; set onnx: true, or int8: false")
        return self


LONGEST_NAME = 100
"""Letters of a study's name."""

StudyName = Annotated[
    str,
    _word(
        rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{LONGEST_NAME - 2}}}[A-Za-z0-9])?",
        f"up to {LONGEST_NAME} letters and digits with ._- between them",
    ),
]


class StudyConfig(Config):
    """A whole study, as its YAML file says it."""

    name: StudyName
    """Names the study's folder, its Optuna study and its MLflow run."""
    seed: int = Field(default=0, ge=0)
    """Seed of the sampler and of every trial."""
    note: str = ""
    """Free text for the record, in Markdown."""
    task: TaskConfig
    teacher: TeacherConfig
    student: StudentConfig
    assistant: AssistantConfig | None = None
    """The net between teacher and student, for studies with method `takd`."""
    method: MethodConfig = ContinuationKD()
    """The study's own method, whose fields the dimensions of `search.space` are, unless one of them is `method` itself.
    Where methods are compared and none is named here, they are of no method in particular."""
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
    compare: tuple[MethodConfig, ...] = ()
    """Methods to search one after the other, each with `search.trials` trials and dimensions of its own: those of
    `search.space` that are about the training, the student or the method, or else the usual ones. Neither `method` nor
    `search.baselines` are used then."""
    finalists: FinalistsConfig = FinalistsConfig()
    resources: ResourceConfig = ResourceConfig()
    tracking: TrackingConfig = TrackingConfig()
    export: ExportConfig = ExportConfig()
    smoke: dict[str, Any] = {}
    """Overrides, dotted field to value, that `--smoke` applies: a short run that tries whether all of it works. Several
    of one section may stand below its name."""

    @model_validator(mode="wrap")
    @classmethod
    def _has_defaults_of_its_kind(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return validate(data)
        filled, task = data, data.get("task")
        if data.get("compare") and "method" not in data:
            filled = {**filled, "method": NoDistillation()}  # the space is of no method in particular
        if (task.get("source") if isinstance(task, Mapping) else getattr(task, "source", None)) in TEXT_SOURCES:
            filled = with_text_defaults(filled)
        study = validate(filled)
        study.model_fields_set.intersection_update(data)  # what was filled in, nobody has set
        return study

    @property
    def asked(self) -> int:
        """Trials in all."""
        return self.search.trials * max(1, len(self.compare))

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that the search may propose."""
        return tuple(dict.fromkeys(method.name for method in self.compare)) or self.own_methods

    @property
    def own_methods(self) -> tuple[str, ...]:
        """Names of the methods that `search.space` is of."""
        dimension = self.search.space.get("method")
        if isinstance(dimension, Choice):
            return tuple(str(choice) for choice in dimension.choices)
        return (self.method.name,)
