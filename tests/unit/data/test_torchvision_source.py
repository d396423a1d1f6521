from __future__ import annotations

import bz2
import errno
import gzip
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from autockd.config.tasks import Torchvision
from autockd.data import HeldOut, Task, load_task
from autockd.data.sources.idx import read_idx
from autockd.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def load(dataset: str, root: Path, **options: Any) -> tuple[Task, HeldOut]:
    return load_task(Torchvision(source="torchvision", dataset=dataset, root=root, **options))


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, compressed: bool) -> None:
    """60 training and 20 test images of ten classes, the class in the first pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for beginning, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count) % 10
        images = np.random.RandomState(0).randint(0, 256, (count, 7, 6))
        images[:, 0, 0] = labels
        for name, array in ((f"{beginning}-images-idx3-ubyte", images), (f"{beginning}-labels-idx1-ubyte", labels)):
            data = idx_bytes(array)
            (folder / f"{name}.gz").write_bytes(gzip.compress(data)) if compressed else (folder / name).write_bytes(
                data
            )


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inside", ["", "KMNIST/raw"])
@pytest.mark.parametrize("compressed", [True, False])
def test_idx_files_are_read_where_they_lie(tmp_path: Path, inside: str, compressed: bool) -> None:
    write_idx(tmp_path / inside, compressed=compressed)
    before = snapshot(tmp_path)
    task, held_out = load("KMNIST", tmp_path, validation_fraction=0.25)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (45, 15, 20)
    assert task.name == "kmnist"
    assert task.classes == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    assert (task.channels, task.image_size) == (1, (7, 6))
    for split in (task.train, task.validation, held_out.split):
        assert torch.equal(split.inputs[:, 0, 0, 0].long(), split.targets)
    assert snapshot(tmp_path) == before, "nothing is copied into the root"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an idx file of unsigned bytes with 3 axes"),
        (idx_bytes(np.zeros(5)), "is not an idx file of unsigned bytes with 3 axes"),
        (idx_bytes(np.zeros((2, 0, 4))), r"holds nothing: its shape is \[2, 0, 4\]"),
        (idx_bytes(np.zeros((2, 3, 4)))[:-1], r"holds 23 bytes after its header, but its shape is \[2, 3, 4\]"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"task\.root: .*images {message} -> put the original file there"):
        read_idx(path, axes=3)


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(bytes(500), mtime=0)[:-9]])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "images.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"images\.gz cannot be read"):
        read_idx(tmp_path / "images.gz", axes=3)


def test_labels_and_images_must_be_as_many(tmp_path: Path) -> None:
    write_idx(tmp_path, compressed=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19)))
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte holds 20 images, but there are 19 labels"):
        load("MNIST", tmp_path)


def test_a_set_with_arrays_is_read_from_them(tmp_path: Path) -> None:
    """USPS: libsvm lines of 16x16 values from -1 to 1, labels from 1."""
    for name, count in (("usps.bz2", 40), ("usps.t.bz2", 10)):
        lines = [
            f"{row % 10 + 1} " + " ".join(f"{index}:{-1 + (row % 10) / 5}" for index in range(1, 257))
            for row in range(count)
        ]
        (tmp_path / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    task, held_out = load("USPS", tmp_path, validation_fraction=0.25)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (30, 10, 10)
    assert (task.channels, task.image_size) == (1, (16, 16))
    assert task.classes == tuple("0123456789")
    grey = held_out.split.inputs.flatten(1).float().mean(1)
    assert (grey - held_out.split.targets * 25.5).abs().max() <= 1


def write_country211(root: Path, *, size: tuple[int, int] = (6, 5)) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for index, name in enumerate(["AD", "AE", "AF"]):
            folder = root / "country211" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", size, (80 * index, 10, 200)).save(folder / f"{number}.png")


def test_a_set_of_files_is_decoded(tmp_path: Path) -> None:
    write_country211(tmp_path)
    task, held_out = load("Country211", tmp_path, validation_fraction=0.5)
    assert task.classes == ("AD", "AE", "AF")
    assert (len(task.train), len(task.validation), len(held_out.split)) == (9, 9, 6)
    for split in (task.train, task.validation, held_out.split):
        assert split.inputs.shape[1:] == (3, 5, 6)
        assert torch.equal(split.inputs[:, 0, 0, 0].long(), 80 * split.targets)


def test_image_size_is_for_torchvision_too(tmp_path: Path) -> None:
    write_country211(tmp_path)
    assert load("Country211", tmp_path, validation_fraction=0.5, image_size=4)[0].image_size == (4, 4)


def test_an_unreadable_file_of_a_set_is_named(tmp_path: Path) -> None:
    write_country211(tmp_path)
    (tmp_path / "country211" / "train" / "AE" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"Country211\[6\] is not a readable image"):
        load("Country211", tmp_path)


@pytest.mark.parametrize("dataset", ["CIFAR10", "FashionMNIST", "STL10", "SVHN", "Flowers102", "USPS"])
def test_missing_files_are_named_with_the_remedy(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(DataError) as caught:
        load(dataset, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"task.root: the files of {dataset} in {tmp_path} are missing")
    assert "-> set download: true, or put the files there" in message
    assert ("idx files" in message) == (dataset == "FashionMNIST")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_download_to_where_one_may_not_write_names_another_root(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below /usr/share; root may write there too, so the system's answer is played."""

    def refuse(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code), str(tmp_path / "FashionMNIST"))

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", refuse)
    with pytest.raises(DataError) as caught:
        load("FashionMNIST", tmp_path, download=True)
    message = str(caught.value)
    assert message.startswith(f"task.root: FashionMNIST cannot be written to {tmp_path} (")
    assert os.strerror(code) in message
    assert message.endswith("-> name another task.root, which you may write")


def test_a_pickle_that_is_not_cifars_is_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(b"cbuiltins\nexit\n(tR.")
    with pytest.raises(DataError, match=r"missing, damaged or unreachable \(Dataset not found or corrupted"):
        load("CIFAR10", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("CIFAR-10", r"torchvision has no data set 'CIFAR-10' -> did you mean 'CIFAR10'"),
        ("fashionmnist", r"torchvision has no data set 'fashionmnist' -> did you mean 'FashionMNIST'"),
        ("Nonsense", r"torchvision has no data set 'Nonsense' -> such as 'CIFAR10'"),
        ("os", r"torchvision has no data set 'os'"),
        ("__doc__", r"torchvision has no data set '__doc__'"),
        ("FakeData", r"torchvision's FakeData is not a set of labelled images with a training and a test split"),
        ("EMNIST", r"torchvision's EMNIST is not a set .* -> did you mean '.*MNIST'"),
        ("ImageFolder", r"torchvision's ImageFolder is not a set"),
        ("Sintel", r"torchvision's Sintel is not a set"),
    ],
)
def test_an_unknown_or_unfit_set_is_refused(tmp_path: Path, dataset: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"task\.dataset: {message}"):
        load(dataset, tmp_path)


def test_a_set_that_is_not_of_classes_is_refused(tmp_path: Path) -> None:
    """Kitti: images with lists of objects."""
    for part, name in (("training", "image_2"), ("testing", "image_2"), ("training", "label_2")):
        folder = tmp_path / "Kitti" / "raw" / part / name
        folder.mkdir(parents=True)
        if name == "image_2":
            Image.new("RGB", (6, 5)).save(folder / "000000.png")
        else:
            (folder / "000000.txt").write_text("Car 0.0 0 0.0 0 0 1 1 1 1 1 0 0 0 0\n")
    with pytest.raises(
        DataError, match=r"a sample of torchvision's Kitti is not an image with a class, but \(PngImageFile, list\)"
    ):
        load("Kitti", tmp_path)


def test_a_set_without_a_test_split_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "imagenette2" / "train" / "n01440764"
    folder.mkdir(parents=True)
    (tmp_path / "imagenette2" / "val").mkdir()
    Image.new("RGB", (6, 5)).save(folder / "0.jpeg")
    with pytest.raises(DataError, match=r"torchvision cannot open Imagenette: .*'test'.* -> choose another, or read"):
        load("Imagenette", tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_from_debians_package() -> None:
    task, held_out = load("FashionMNIST", DEBIAN)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (54_000, 6_000, 10_000)
    assert task.classes[0] == "T-shirt/top"
    assert torch.bincount(task.validation.targets).tolist() == [600] * 10
    assert task.mean == pytest.approx((0.2860,), abs=1e-3), "the published mean of all 60,000"
    assert task.std == pytest.approx((0.3530,), abs=1e-3)
    assert held_out.split.targets[:5].tolist() == [9, 2, 1, 1, 6]
