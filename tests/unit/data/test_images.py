from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autockd.data.sources.images import Item, array_samples, decode, equalise, opened, resize
from autockd.errors import DataError


def noise(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def items(*images: Image.Image) -> Iterator[Item]:
    for index, image in enumerate(images):
        yield f"image {index}", lambda image=image: image


def decoded(*images: Image.Image, size: int | None = None) -> torch.Tensor:
    return decode(items(*images), len(images), size)


@pytest.mark.parametrize("layout", [(6, 4, 5), (6, 1, 4, 5), (6, 4, 5, 1), (6, 3, 4, 5), (6, 4, 5, 3)])
def test_arrays_of_every_layout_become_channels_first(layout: tuple[int, ...]) -> None:
    array = noise(*layout)
    images = array_samples(array, np.zeros(6, np.int64), None).read(np.array([4, 1]))
    channels = 3 if 3 in layout[1:] else 1
    assert images.shape == (2, channels, 4, 5)
    assert images.is_contiguous()
    first = array[4].transpose(2, 0, 1) if layout[-1] == 3 else array[4].reshape(channels, 4, 5)
    assert np.array_equal(images[0].numpy(), first)


def test_whatever_a_decoder_raises_is_told(tmp_path: Path) -> None:
    """Pillow's of AVIF raises a RuntimeError for damaged pixels."""
    path = tmp_path / "a.avif"
    Image.fromarray(noise(16, 16, 3)).save(path)
    content = path.read_bytes()
    told = set()
    for place in range(content.index(b"mdat") + 4, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            decode([("a", partial(opened, path))], 1, 8)
        except DataError as error:
            told.add(type(error.__cause__))
    assert RuntimeError in told


def test_what_is_read_is_a_copy() -> None:
    array = np.zeros((3, 4, 4), np.uint8)
    array_samples(array, np.zeros(3, np.int64), None).read(np.arange(3)).fill_(9)
    assert array.max() == 0


def test_grey_images_stay_grey() -> None:
    array = noise(4, 5)
    assert np.array_equal(decoded(Image.fromarray(array))[0, 0].numpy(), array)


@pytest.mark.parametrize("order", [(0, 1, 0), (1, 0, 0), (0, 0, 1)])
def test_one_colour_image_makes_all_of_them_colour(order: tuple[int, ...]) -> None:
    grey, colour = noise(4, 5), noise(4, 5, 3)
    images = decoded(*(Image.fromarray(colour if bit else grey) for bit in order))
    assert images.shape == (3, 3, 4, 5)
    for image, bit in zip(images, order, strict=True):
        expected = colour if bit else np.repeat(grey[:, :, None], 3, axis=2)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_modes_become_grey_or_rgb(mode: str, channels: int) -> None:
    assert decoded(Image.fromarray(noise(4, 5, 3)).convert(mode)).shape == (1, channels, 4, 5)


def test_transparency_is_dropped() -> None:
    rgba = noise(4, 5, 4)
    assert np.array_equal(decoded(Image.fromarray(rgba))[0].permute(1, 2, 0).numpy(), rgba[:, :, :3])


def test_a_transparent_palette_is_dropped_without_a_warning() -> None:
    image = Image.fromarray(noise(4, 5, 3)).quantize(4)
    image.info["transparency"] = bytes([0, 255, 128, 7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded(image).shape == (1, 3, 4, 5)


def test_deep_images_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"image 0 has more than 8 bits a channel \(mode I;16\) -> convert it to 8 bits"
    ):
        decoded(Image.fromarray(noise(4, 5).astype(np.uint16) * 256))


def test_a_cameras_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    array = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the picture must be turned clockwise by 90 degrees
    Image.fromarray(array).save(path, exif=exif)
    images = decode([("turned", lambda: Image.open(path))], 1, None)
    assert np.array_equal(images[0, 0].numpy(), np.rot90(array, -1))


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("name", ["turned.tif", "turned.TIFF", "turned.png"])
def test_a_turned_file_is_read_as_its_bytes_are(name: str, orientation: int, tmp_path: Path) -> None:
    """Of a plain TIFF's path Pillow maps the pixels, and takes them for those of the turned picture."""
    path = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(30, 40)).save(path, exif=exif)
    by_path = decode([("x", lambda: opened(path))], 1, None)
    by_bytes = decode([("x", lambda: opened(io.BytesIO(path.read_bytes())))], 1, None)
    assert torch.equal(by_path, by_bytes)


def test_mixed_sizes_are_named_with_the_remedy() -> None:
    expected = r"task\.image_size: .*image 0: 5x4, image 1: 7x6 \(width x height\) -> set image_size"
    with pytest.raises(DataError, match=expected):
        decoded(Image.fromarray(noise(4, 5)), Image.fromarray(noise(6, 7)))


def test_image_size_brings_mixed_sizes_together() -> None:
    images = decoded(Image.fromarray(noise(4, 5)), Image.fromarray(noise(60, 70, 3)), size=8)
    assert images.shape == (2, 3, 8, 8)


def test_arrays_and_files_are_resized_alike() -> None:
    array = noise(40, 40, 3)
    tensor = resize(torch.from_numpy(array).permute(2, 0, 1)[None], 16)
    file = decoded(Image.fromarray(array), size=16)
    assert tensor.shape == file.shape == (1, 3, 16, 16)
    assert (tensor.int() - file.int()).abs().max() <= 1


def test_shrinking_averages_over_all_pixels() -> None:
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    small = resize(checkers.to(torch.uint8)[None, None], 8)
    assert (small.int() - 127).abs().max() <= 16


def test_equal_sizes_are_not_resampled() -> None:
    images = torch.from_numpy(noise(2, 1, 8, 8))
    assert resize(images, 8) is images
    assert resize(images, None) is images


def test_parts_of_different_sizes_are_refused() -> None:
    parts = {"train": torch.zeros(2, 1, 4, 5), "test": torch.zeros(2, 1, 5, 5)}
    with pytest.raises(DataError, match="train images: 5x4, test images: 5x5"):
        equalise(parts)
