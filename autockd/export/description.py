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


class Preprocessing(Record):
    """How an image file becomes what the model takes, in the order of the fields: what its training data went through.

    Pixels are then uint8, [channels, height, width], 0..255.
    """

    orientation: Literal["exif"] = "exif"
    """How the camera was held, where the file says so, is made good."""
    mode: Literal["L", "RGB"]
    """Grey or colour, as Pillow names them and converts to them; grey files become colour too, without transparency."""
    height: Side
    width: Side
    keep_aspect: Literal[False] = False
    """The whole image is squashed or stretched to the size: nothing is cut off, and nothing added."""
    resampling: Literal["bilinear"] = "bilinear"
    """Pillow's filter, which weighs all pixels where it makes an image smaller (others call that antialiased)."""

    @classmethod
    def to(cls, channels: int, image_size: tuple[int, int]) -> Self:
        """How files become images of so many channels, 1 or 3, and of a height and width in pixels."""
        return cls(mode=_MODES[channels], height=image_size[0], width=image_size[1])


_MODES: Mapping[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}


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
    """With what it was made; without the name of the machine, which is nobody's business where a bundle goes."""

    @field_validator("provenance", mode="before")
    @classmethod
    def _without_host(cls, provenance: Any) -> Any:
        if isinstance(provenance, Provenance):
            return provenance.model_copy(update={"host": ""})
        return {**provenance, "host": ""} if isinstance(provenance, Mapping) else provenance

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
        return self.model_dump_json(indent=2, exclude={"architecture": {"weights"}, "provenance": {"host"}}) + "\n"


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
    preprocessing: Preprocessing | None = None
    """How image files become what it takes; None in bundles of older versions."""

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        return self

    @model_validator(mode="after")
    def _preprocessing_agrees(self) -> Self:
        if (made := self.preprocessing) is None:
            return self
        if (made.mode, made.height, made.width) != (_MODES.get(self.channels), *self.image_size):
            raise ValueError(
                f"preprocessing gives {made.mode} of {made.height} x {made.width}, where channels and image_size say "
                f"{self.channels} x {self.image_size[0]} x {self.image_size[1]}"
            )
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
