from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autockd.config.tasks import Npz
from autockd.data import HeldOut, Task, load_task
from autockd.errors import DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (40, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(40) % 4


def load(path: Path, **options: Any) -> tuple[Task, HeldOut]:
    return load_task(Npz(source="npz", path=path, **options))


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "plants.npz"
    np.savez(path, **arrays)
    return path


def test_a_test_split_is_taken_where_there_is_none(tmp_path: Path) -> None:
    task, held_out = load(saved(tmp_path, x_train=IMAGES, y_train=LABELS), validation_fraction=0.25)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (24, 8, 8)
    assert task.name == "plants"
    assert task.classes == ("0", "1", "2", "3")
    assert (task.channels, task.image_size) == (3, (6, 5))


def test_the_archives_own_test_split_is_kept_in_order(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:7], y_test=LABELS[:7, None])
    _, held_out = load(path)
    assert torch.equal(held_out.split.inputs, torch.from_numpy(IMAGES[:7]).permute(0, 3, 1, 2))
    assert held_out.split.targets.tolist() == LABELS[:7].tolist()


def test_images_keep_their_labels(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[:, 0, 0, 0] = LABELS
    task, held_out = load(saved(tmp_path, x_train=images, y_train=LABELS.astype(np.uint8)))
    for split in (task.train, task.validation, held_out.split):
        assert torch.equal(split.inputs[:, 0, 0, 0].long(), split.targets)


@pytest.mark.parametrize("images", [IMAGES[..., 0], IMAGES[..., :1]])
def test_grey_images_have_one_channel(tmp_path: Path, images: np.ndarray) -> None:
    assert load(saved(tmp_path, x_train=images, y_train=LABELS))[0].channels == 1


def test_classes_may_be_named(tmp_path: Path) -> None:
    names = np.array(["ash", "beech", "cedar", "date"])
    assert load(saved(tmp_path, x_train=IMAGES, y_train=LABELS, classes=names))[0].classes == tuple(names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": IMAGES / 255}, r"x_train must be uint8, .*not float64 -> save \(255 \* x_train\)\.round\(\)"),
        ({"x_train": IMAGES.astype(np.int32)}, r"not int32 -> save x_train\.astype\(np\.uint8\), once its values"),
        ({"x_train": IMAGES.transpose(0, 3, 1, 2)}, r"channels before its rows.*transpose\(0, 2, 3, 1\)"),
        ({"x_train": IMAGES.reshape(40, -1)}, r"x_train must be \[N, H, W\] .*not \[40, 90\]"),
        ({"x_train": IMAGES[:, :, :, :2]}, r"x_train must be .*not \[40, 6, 5, 2\]"),
        ({"x_train": IMAGES[:0]}, r"none of them 0, not \[0, 6, 5, 3\]"),
        ({"x_train": IMAGES[:39]}, r"x_train holds 39 images, but y_train 40 labels"),
        ({"y_train": np.eye(4)[LABELS]}, r"y_train must be \[N\] or \[N, 1\], not \[40, 4\] -> .*argmax\(1\)"),
        ({"y_train": LABELS.astype(float)}, r"y_train must hold integers, not float64 -> .*astype\(np\.int64\)"),
        ({"y_train": LABELS.astype(str)}, r"y_train must hold integers, not <U"),
        ({"y_train": LABELS - 1}, r"y_train holds the negative label -1 -> number the classes from 0"),
        ({"y_train": LABELS * 2}, r"no training image has the class '1', '3', '5' -> .*without gaps"),
        ({"classes": np.array(["one", "two"])}, r"classes must be 4 strings, \[K\], not <U3 \[2\]"),
        ({"classes": np.arange(4)}, r"classes must be 4 strings, \[K\], not int64 \[4\]"),
        ({"x_test": IMAGES}, r"lacks 'y_test'; it has 'x_test', 'x_train', 'y_train'"),
        ({"y_train": np.array([{}] * 40)}, r"y_train in .* holds pickled Python objects, which are never loaded"),
    ],
)
def test_a_wrong_array_is_named_with_its_remedy(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {"x_train": IMAGES, "y_train": LABELS, **change}
    with pytest.raises(DataError, match=message):
        load(saved(tmp_path, **arrays))


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks 'x_train'; it has 'images', 'y_train' -> use np\.savez\(path, x_"):
        load(saved(tmp_path, images=IMAGES, y_train=LABELS))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"task\.path: there is no file .*absent\.npz -> write it with np\.savez"):
        load(tmp_path / "absent.npz")


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "array.npz").open("wb") as stream:
        np.save(stream, IMAGES)
    with pytest.raises(DataError, match="holds a single array"):
        load(tmp_path / "array.npz")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "bomb.npz").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(DataError, match="is not a NumPy archive"):
        load(tmp_path / "bomb.npz")
    path = saved(tmp_path, x_train=IMAGES, y_train=np.array([Bomb(mark)] * 40))
    with pytest.raises(DataError, match="pickled Python objects"):
        load(path)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 30, 3000])
def test_a_truncated_archive_is_refused(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="is not a NumPy archive"):
        load(path)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS)
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x_train in .* cannot be read: .*-> write the file again"):
        load(path)


def npy(array: np.ndarray, shape: Any = None) -> bytes:
    """A member of an archive, whose header may claim another shape."""
    stream = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + array.tobytes()


def lock(path: Path) -> None:
    """Say of each member that it is encrypted."""
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(mark, start + 1)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x_train", b"hello", r"x_train in .* is no NumPy array -> use np\.savez"),
        ("classes", b"hello", r"classes in .* is no NumPy array -> use np\.savez"),
        ("x_train.npy", npy(IMAGES, (10**17,)), r"x_train in .* cannot be read: .* -> write the file again"),
        ("x_train.npy", npy(IMAGES, (10**20, 6)), r"x_train in .* cannot be read: .* -> write the file again"),
        ("x_train.npy", npy(IMAGES).replace(b")", b"("), r"x_train in .* cannot be read: .* -> write the file again"),
    ],
)
def test_a_member_that_is_no_array_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    members = {"x_train.npy": npy(IMAGES), "y_train.npy": npy(LABELS), name: content}
    if name == "x_train":
        del members["x_train.npy"]
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(DataError, match=r"task\.path: " + message):
        load(tmp_path / "data.npz")


def test_no_damage_of_a_header_is_a_bug(tmp_path: Path) -> None:
    for place in range(6, 128, 3):
        content = bytearray(npy(IMAGES))
        content[place] ^= 8
        with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
            archive.writestr("x_train.npy", bytes(content))
            archive.writestr("y_train.npy", npy(LABELS))
        with contextlib.suppress(DataError):
            load(tmp_path / "data.npz")


def test_an_archive_with_a_password_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS)
    lock(path)
    with pytest.raises(DataError, match=r"x_train in .* cannot be read: .*password required .*-> write the file again"):
        load(path)


@pytest.mark.parametrize("label", [2**63, 2**64 - 1])
def test_a_label_beyond_all_integers_is_not_taken_for_a_negative_one(tmp_path: Path, label: int) -> None:
    path = saved(tmp_path, x_train=IMAGES, y_train=np.array([0, label] * 20, np.uint64))
    with pytest.raises(DataError, match=rf"y_train holds the label {label} -> number the classes from 0"):
        load(path)


def test_labels_that_number_no_classes_are_refused(tmp_path: Path) -> None:
    """Such as identities, or a -1 that was written without a sign."""
    images = np.zeros((6, 4, 4), np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2**32 - 1], np.uint32)
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels)
    with pytest.raises(DataError, match="labels go up to 4294967295, so they number no classes"):
        load_task(Npz(source="npz", path=tmp_path / "data.npz"))
