"""What a study may say about its data, chosen by `source`: images with a class each, or texts with a class or score."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeGuard, get_args

from pydantic import Field, model_validator

from autockd.config.base import Config
from autockd.config.packages import PREFIX
from autockd.folders import expanded

ClassMetric = Literal["accuracy", "f1", "accuracy_f1", "matthews"]
"""Metrics of classes; `f1` and `accuracy_f1` are of the class 1 of two."""
ScoreMetric = Literal["pearson", "spearman", "pearson_spearman"]
"""Metrics of scores; the last is the mean of the first two."""
MetricName = ClassMetric | ScoreMetric

GlueTask = Literal["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"]

FILE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
"""How the names of files of texts end."""


class Augmentation(Config):
    """Random crop after zero padding, and horizontal flip: a finite set of views of each training image."""

    crop_padding: int = Field(default=0, ge=0, le=16)
    """Pixels of zero padding on each side before a crop of the original size; p gives (2p + 1)^2 crops."""
    flip: bool = False
    """Whether the mirrored image is a view too."""


class _Task(Config):
    """What all tasks share."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training samples held out, stratified by class or score, to compare trials on."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the splits, of the order of samples and of their views; equal for all trials."""
    limit_train: int | None = Field(default=None, ge=2)
    """Use only so many training samples (stratified), before validation samples are split off."""
    limit_test: int | None = Field(default=None, ge=1)
    """Use only so many test samples (stratified)."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The task's name; in lower case, of the MLflow experiment too."""

    @property
    def is_regression(self) -> bool:
        """Whether targets are scores, not classes."""
        return False

    @property
    def is_binary(self) -> bool:
        """Whether it is known before any data is read that there are two classes."""
        return False


class _ImageTask(_Task):
    """What all image tasks share."""

    kind: ClassVar[Literal["image"]] = "image"
    augmentation: Augmentation = Augmentation()
    """Views of the training images."""
    image_size: int | None = Field(default=None, ge=4, le=4096)
    """Resize to this height and width in pixels; null keeps the size (all images must then share it)."""
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = Field(default=None, min_length=1, max_length=3)
    """What is subtracted from pixels scaled to 0..1: a number for each channel, or one for all. Null is the mean of the
    training split; a given teacher needs the numbers that it was trained with, such as [0.485, 0.456, 0.406]."""
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = Field(default=None, min_length=1, max_length=3)
    """What they are then divided by, such as [0.229, 0.224, 0.225]: given with `mean`, and null, which is the standard
    deviation of the training split, with it."""

    @model_validator(mode="after")
    def _mean_and_std_belong_together(self) -> Self:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError("mean and std go together, with as many numbers each: give both, or neither")
        return self


class _TextTask(_Task):
    """What all text tasks share."""

    kind: ClassVar[Literal["text"]] = "text"
    max_length: int = Field(default=128, ge=4, le=512)
    """Tokens of a sentence or pair, special ones included; longer ones are cut."""
    metric: MetricName | None = None
    """What trials are compared by; null takes the one that is usual for the task."""


class Digits(_ImageTask):
    """scikit-learn's digits: 1,797 grey images of 8x8 pixels in ten classes, shipped with the package."""

    source: Literal["digits"] = "digits"
    test_fraction: float = Field(default=0.3, gt=0, lt=1)
    """Share of the images that makes the test split, stratified by class."""

    @property
    def name(self) -> str:
        """The data set's."""
        return "digits"


class Torchvision(_ImageTask):
    """A classification data set of torchvision: CIFAR10, CIFAR100, MNIST, FashionMNIST, KMNIST, SVHN, ..."""

    source: Literal["torchvision"]
    dataset: str
    """The class's name in `torchvision.datasets`."""
    root: Path
    """The folder that holds, or is to hold, the data set's files."""
    download: bool = False
    """Whether missing files may be fetched from the network."""

    @property
    def name(self) -> str:
        """The data set's, in lower case."""
        return self.dataset.lower()


class HuggingFace(_ImageTask):
    """A data set of the Hugging Face hub, or a local folder in the same layout."""

    source: Literal["huggingface"]
    path: str
    """A local folder (relative paths count from the study file), or a hub id such as `uoft-cs/cifar10`."""
    subset: str | None = None
    """The data set's configuration name, where it has several."""
    revision: str | None = None
    """Commit, tag or branch of a hub data set."""
    image_column: str | None = None
    """Column with the images; null finds it by its type."""
    label_column: str | None = None
    """Column with the labels; null finds it by its type."""
    train_split: str = "train"
    """Name of the split to train on."""
    test_split: str | None = "test"
    """Name of the split to test on; null takes `test_fraction` of the training split."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training split that becomes the test split when `test_split` is null."""

    @property
    def name(self) -> str:
        """Name of the folder or hub data set, in lower case, without what stands before it."""
        return expanded(self.path).resolve().name.lower()


class ImageFolder(_ImageTask):
    """A folder of images by class: `train/<class>/*.png` and `test/<class>/*.png`, or `<class>/*.png` alone."""

    source: Literal["folder"]
    path: Path
    """The folder; relative paths count from the study file."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share that becomes the test split when there is no `test` folder."""

    @property
    def name(self) -> str:
        """The folder's."""
        return self.path.resolve().name


class Npz(_ImageTask):
    """A NumPy archive with `x_train`, `y_train` and, optionally, `x_test`, `y_test`."""

    source: Literal["npz"]
    path: Path
    """The .npz file; images are uint8, [N, H, W] or [N, H, W, C]; pickled arrays are refused."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share that becomes the test split when the archive has no `x_test`."""

    @property
    def name(self) -> str:
        """The file's, without its suffix."""
        return self.path.stem


class Glue(_TextTask):
    """A task of GLUE. Its test labels are hidden: `validation` is the test split here, and opened as late as any."""

    source: Literal["glue"]
    task: GlueTask
    """The task's name, which is the subset's too. mnli is tested on its matched and, apart, its mismatched split."""
    path: str = "nyu-mll/glue"
    """A local folder with `<task>/train-*.parquet` (relative paths count from the study file), or a hub id."""
    revision: str | None = None
    """Commit, tag or branch of a hub data set."""

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task

    @property
    def is_regression(self) -> bool:
        """Whether targets are scores: those of stsb are."""
        return self.task == "stsb"

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes: all tasks have them but mnli, with three, and stsb."""
        return self.task not in ("mnli", "stsb")

    @model_validator(mode="after")
    def _metric_fits(self) -> Self:
        _check_metric(self.metric, scores=self.is_regression, what=self.task)
        return self


class Text(_TextTask):
    """Texts, or pairs of texts, with a class or a score each, from a file, a folder or the Hugging Face hub."""

    source: Literal["text"]
    path: str
    """A file (CSV, TSV, JSON, JSON lines, Parquet), a folder of them, or a hub id; relative paths count from the
    study file. A file holds training samples only, and CSV and TSV files begin with a line of column names."""
    test_file: Path | None = None
    """A file of test samples beside a `path` that is a file; null sets `test_fraction` aside."""
    subset: str | None = None
    """The data set's configuration name, where a folder or hub data set has several."""
    revision: str | None = None
    """Commit, tag or branch of a hub data set."""
    train_split: str = "train"
    """Name of the split to train on, in a folder (`train.csv`, `train-*.parquet`) or hub data set."""
    test_split: str | None = "test"
    """Name of the split to test on, in a folder or hub data set; null takes `test_fraction` of the training split."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training samples that becomes the test split where none is named."""
    text_columns: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=2)
    """The column of the texts, or the two of the pairs; null takes all columns of strings but the label's."""
    label_column: str | None = None
    """The column of classes or scores; null finds it by its name (`label`, `labels`) or its type."""
    problem: Literal["classification", "regression"] = "classification"
    """Whether labels are classes (integers or strings) or scores (numbers)."""

    @property
    def is_file(self) -> bool:
        """Whether `path` names a file, by how it ends."""
        return self.path.lower().endswith(FILE_SUFFIXES)

    @property
    def name(self) -> str:
        """Name of the file, folder or hub data set, in lower case, without what stands around it."""
        return (Path(self.path).stem if self.is_file else Path(self.path).name).lower()

    @property
    def is_regression(self) -> bool:
        """Whether targets are scores."""
        return self.problem == "regression"

    @model_validator(mode="after")
    def _metric_fits(self) -> Self:
        _check_metric(self.metric, scores=self.is_regression, what=f"problem: {self.problem}")
        return self

    @model_validator(mode="after")
    def _options_fit_the_path(self) -> Self:
        if self.test_file is not None and not self.is_file:
            raise ValueError("test_file goes with a path that is a file; name the test data by test_split")
        of_sets = {"subset": None, "revision": None, "train_split": "train", "test_split": "test"}
        if self.is_file and (set_anyway := [name for name, null in of_sets.items() if getattr(self, name) != null]):
            raise ValueError(f"{', '.join(set_anyway)} cannot be set where path is a file; name a test_file, or none")
        return self


def _check_metric(metric: MetricName | None, *, scores: bool, what: str) -> None:
    fitting = get_args(ScoreMetric if scores else ClassMetric)
    if metric is not None and metric not in fitting:
        labels = "scores" if scores else "classes"
        raise ValueError(f"{what} has {labels}, which {metric} does not judge; choose one of {', '.join(fitting)}")


ImageTaskConfig = Digits | Torchvision | HuggingFace | ImageFolder | Npz
TextTaskConfig = Glue | Text
TaskConfig = Annotated[ImageTaskConfig | TextTaskConfig, Field(discriminator="source")]

TEXT_SOURCES: tuple[str, ...] = tuple(
    get_args(task.model_fields["source"].annotation)[0] for task in get_args(TextTaskConfig)
)
"""The sources of texts."""


def can_only_be_local(path: str) -> bool:
    """Whether no hub id has this form: it begins as paths do, or as a package's files, or ends as files of texts."""
    return path.startswith((".", "/", "~", PREFIX)) or path.lower().endswith(FILE_SUFFIXES)


def is_on_hub(task: TaskConfig) -> TypeGuard[HuggingFace | Glue | Text]:
    """Whether a data set is fetched from the Hugging Face hub, for nothing here has its path."""
    return isinstance(task, HuggingFace | Glue | Text) and not expanded(task.path).exists()
