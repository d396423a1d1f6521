"""What a study may say about its data, chosen by `source`. Every source yields images with one label each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from autockd.config.base import Config


class Augmentation(Config):
    """Random crop after zero padding, and horizontal flip: a finite set of views of each training image."""

    crop_padding: int = Field(default=0, ge=0, le=16)
    """Pixels of zero padding on each side before a crop of the original size; p gives (2p + 1)^2 crops."""
    flip: bool = False
    """Whether the mirrored image is a view too."""

    @property
    def views(self) -> int:
        """Number of views of one image."""
        return (2 * self.crop_padding + 1) ** 2 * (2 if self.flip else 1)


class _ImageTask(Config):
    """What all image tasks share."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training images held out, stratified by class, to compare trials on."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the splits, of the order of samples and of their views; equal for all trials."""
    augmentation: Augmentation = Augmentation()
    """Views of the training images."""
    image_size: int | None = Field(default=None, ge=4)
    """Resize to this height and width in pixels; null keeps the size (all images must then share it)."""
    limit_train: int | None = Field(default=None, ge=2)
    """Use only so many training images (stratified), before validation images are split off."""
    limit_test: int | None = Field(default=None, ge=1)
    """Use only so many test images (stratified)."""


class Digits(_ImageTask):
    """scikit-learn's digits: 1,797 grey images of 8x8 pixels in ten classes, shipped with the package."""

    source: Literal["digits"] = "digits"
    test_fraction: float = Field(default=0.3, gt=0, lt=1)
    """Share of the images that makes the test split, stratified by class."""


class Torchvision(_ImageTask):
    """A classification data set of torchvision: CIFAR10, CIFAR100, MNIST, FashionMNIST, KMNIST, SVHN, ..."""

    source: Literal["torchvision"]
    dataset: str
    """The class's name in `torchvision.datasets`."""
    root: Path
    """The folder that holds, or is to hold, the data set's files."""
    download: bool = False
    """Whether missing files may be fetched from the network."""


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


class ImageFolder(_ImageTask):
    """A folder of images by class: `train/<class>/*.png` and `test/<class>/*.png`, or `<class>/*.png` alone."""

    source: Literal["folder"]
    path: Path
    """The folder; relative paths count from the study file."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share that becomes the test split when there is no `test` folder."""


class Npz(_ImageTask):
    """A NumPy archive with `x_train`, `y_train` and, optionally, `x_test`, `y_test`."""

    source: Literal["npz"]
    path: Path
    """The .npz file; images are uint8, [N, H, W] or [N, H, W, C]; pickled arrays are refused."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share that becomes the test split when the archive has no `x_test`."""


TaskConfig = Annotated[
    Digits | Torchvision | HuggingFace | ImageFolder | Npz,
    Field(discriminator="source"),
]
