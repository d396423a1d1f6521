"""What a bundle says about its model, for programs: autockd.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, TypeAdapter, field_validator, model_validator

from autockd.config.methods import MethodConfig
from autockd.config.models import CifarResNet, Encoder, TorchvisionModel
from autockd.config.schema import Licence
from autockd.config.tasks import MetricName, TaskConfig
from autockd.config.training import TrainingConfig
from autockd.facts import Direction
from autockd.records import Provenance, Record

Side = Annotated[int, Field(ge=1, le=4096)]
Deviation = Annotated[FiniteFloat, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class SeedSummary(Record):
    """What the same configuration has over several seeds: what to expect of it, where one run may be lucky."""

    seeds: tuple[int, ...]
    validation_mean: float
    validation_deviation: float | None = None
    """Sample standard deviation; None for a single seed."""
    test_mean: float | None = None
    """None where the test split was not opened for it."""
    test_deviation: float | None = None


class TeacherSummary(Record):
    """Whom the model learned from."""

    model: str
    """Its architecture, in words."""
    hub_id: str | None = None
    """Where the Hugging Face hub has the model that it was made from, if it does."""
    parameters: int
    validation: float
    """Its metric on the validation split."""
    test: float | None = None
    """Likewise on the test split, as recorded."""


class Budget(Record):
    """What the search took that found the model."""

    trials: int
    fresh_runs: int = 0
    """Runs of its finalists with fresh seeds."""
    epochs: int
    """Of all trials and fresh runs together; but for those of runs that were compressed for the ladder's rungs."""
    trial_seconds: float
    """Wall time of all trials and fresh runs, one after the other."""


class _Description(Record):
    """What is said of every exported model."""

    format_version: Literal[1] = 1
    metric: MetricName = "accuracy"
    direction: Direction = "maximize"
    validation: float | None = None
    """The metric on the validation split, as recorded: of a student with a test metric in fp32, of another as its trial
    found it, in the arithmetic of its training."""
    test: float | None = None
    """The metric on the test split, as recorded."""
    others: dict[str, float] = {}
    """The metric on further splits, by their names, as recorded."""
    study: str
    trial: int | None = None
    seed: int | None = None
    """The fresh seed of the run that gave this model; None for the search's own, under the study's seed."""
    seeds: SeedSummary | None = None
    """Of its configuration; None where it did not run with fresh seeds."""
    method: str
    """Name of the distillation method."""
    conventions: str = ""
    """How the method's losses are scaled and reduced."""
    plan: MethodConfig | None = None
    """The method with all of its parameters."""
    training: TrainingConfig | None = None
    """The run that trained it."""
    teacher: TeacherSummary | None = None
    budget: Budget | None = None
    licence: Licence | None = None
    """An identifier, as the Hugging Face hub has them; None where nobody stated one."""
    hub_id: str | None = None
    """Where the Hugging Face hub has the model that it was made from, if it does."""
    task: TaskConfig | None = None
    """The data set that its metrics are of, to evaluate it on again; its paths are those of the machine it ran on."""
    provenance: Provenance

    @field_validator("architecture", mode="before", check_fields=False)
    @classmethod
    def _without_weights(cls, architecture: Any) -> Any:
        if isinstance(architecture, CifarResNet | TorchvisionModel | Encoder):
            return architecture.model_copy(update={"weights": None})
        if isinstance(architecture, Mapping) and architecture.get("weights") is not None:
            raise ValueError("a bundle's architecture names no weights file")
        return architecture

    def to_json(self) -> str:
        """The text of autockd.json."""
        return self.model_dump_json(indent=2, exclude={"architecture": {"weights"}}) + "\n"


class ImageBundleConfig(_Description):
    """Everything that is needed to rebuild and judge a classifier of images, but its weights."""

    kind: Literal["image"] = "image"
    architecture: Annotated[CifarResNet | TorchvisionModel, Field(discriminator="family")]
    """Without a `weights` path: a bundle's weights are its own."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """Name of each class, by index."""
    channels: Annotated[int, Field(ge=1, le=64)]
    image_size: tuple[Side, Side]
    """Height and width in pixels."""
    mean: tuple[FiniteFloat, ...]
    """Per channel, of pixels scaled to 0..1; subtracted."""
    std: tuple[Deviation, ...]
    """Per channel, of pixels scaled to 0..1; divided by."""

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        return self


class TextBundleConfig(_Description):
    """What config.json of transformers does not say about a text encoder: how to feed and how to judge it."""

    kind: Literal["text"] = "text"
    architecture: Encoder
    """What it was made from, for the record; config.json has its shape."""
    classes: tuple[str, ...] = ()
    """Name of each class, by index; empty where the one output is a score."""
    score_range: tuple[FiniteFloat, FiniteFloat] | None = None
    """The least and the largest score there can be, where that is known; the output itself has no bounds."""
    pairs: bool
    """Whether it reads pairs of texts, or single ones."""
    max_length: Count
    """Tokens after which a text or pair is cut, special ones included."""

    @field_validator("classes")
    @classmethod
    def _no_single_class(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) == 1:
            raise ValueError("one class is nothing to choose from; name two or more, or none for a score")
        return classes

    @property
    def outputs(self) -> int:
        """Numbers that the model gives for a text."""
        return len(self.classes) or 1


BundleConfig = ImageBundleConfig | TextBundleConfig

BUNDLE_CONFIG: TypeAdapter[BundleConfig] = TypeAdapter(Annotated[BundleConfig, Field(discriminator="kind")])
"""Reads either kind."""
