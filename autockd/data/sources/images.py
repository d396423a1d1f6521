"""From arrays and image files to uint8 tensors [N, C, H, W] of one size."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from autockd.data.sources.raw import Indices, Samples, data_error
from autockd.processor import memory

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
Item = tuple[str, Callable[[], "Image"]]
"""An image that is yet to be opened, and how messages name it."""

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "AVIF", "GIF", "TIFF", "PPM")
"""Pillow looks at a file's content, and would hand what is PostScript, whatever its name, to an interpreter."""

_RESIZE_CHUNK, _COPIES = 1024, 2
_EXIF_ORIENTATION = 0x0112
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_MAPPED = (".tif", ".tiff")
"""Files that Pillow maps into memory if it is given their path: turned ones as if they were of their later size."""


def opened(source: Path | BinaryIO) -> Image:
    """An image of one of the formats that are read, decoded when its pixels are asked for.

    Raises what Pillow raises.
    """
    from PIL import Image

    if isinstance(source, Path) and source.suffix.lower() in _MAPPED:
        source = io.BytesIO(source.read_bytes())
    return Image.open(source, formats=_FORMATS)


def array_samples(images: Pixels, targets: Indices, image_size: int | None) -> Samples:
    """Samples of an array that is in memory.

    Args:
        images: uint8, [N, H, W], [N, C, H, W] or [N, H, W, C] with C = 1 or 3.
        targets: int64 [N].
        image_size: height and width to resize to, in pixels; None keeps the size.
    """
    images = _channels_first(images)

    def read(rows: Indices) -> torch.Tensor:
        return resize(torch.from_numpy(np.ascontiguousarray(images[rows])), image_size)

    return Samples(targets, read)


def _channels_first(images: Pixels) -> Pixels:
    if images.ndim == 3:
        return images[:, None]
    assert images.ndim == 4
    if images.shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    assert images.shape[1] in (1, 3)
    return images


def resize(images: torch.Tensor, size: int | None) -> torch.Tensor:
    """Images uint8 [N, C, H, W] as [N, C, size, size]: bilinear, antialiased. None keeps the size."""
    if size is None or images.shape[2:] == (size, size):
        return images
    chunks = [
        F.interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        for chunk in torch.split(images, _RESIZE_CHUNK)
    ]
    return torch.cat(chunks)


def decode(items: Iterable[Item], count: int, image_size: int | None) -> torch.Tensor:
    """Open images one by one into one tensor.

    The result is grey only if all images are; otherwise grey ones are repeated over three channels. Transparency
    is dropped. The orientation that a camera wrote into the file is applied.

    Args:
        items: the images, in order.
        count: how many there are, at least 1.
        image_size: height and width to resize to, in pixels; None requires equal sizes.

    Returns:
        uint8 [count, C, H, W], C = 1 or 3.

    Raises:
        DataError: an image cannot be read, or sizes differ.
    """
    pixels = np.empty((0, 0, 0, 0), dtype=np.uint8)
    first = ""
    for index, (name, open_image) in enumerate(items):
        image = _read(name, open_image, image_size)
        if index == 0:
            first = name
            pixels = np.empty((count, *image.shape), dtype=np.uint8)
        if image.shape[1:] != pixels.shape[2:]:
            raise _sizes_differ(first, pixels.shape[2:], name, image.shape[1:])
        if len(image) > pixels.shape[1]:
            pixels = np.repeat(pixels, 3, axis=1)
        pixels[index] = image
    return torch.from_numpy(pixels)


def require_memory(count: int, image: torch.Tensor) -> None:
    """See to it that all images of a data set find room, twice: here, and where workers read them.

    Linux gives out more memory than there is, and kills whoever uses it.

    Args:
        count: images of all splits.
        image: one of them, uint8 [..., H, W].

    Raises:
        DataError: less is free.
    """
    found, needed = memory(), _COPIES * count * image.nbytes
    if found is not None and needed > found[1]:
        message = f"{count:,} images of {_size(tuple(image.shape[-2:]))} take {needed / 1e9:.1f} GB of memory, workers'"
        message += f" copy included, and {found[1] / 1e9:.1f} GB are free"
        raise data_error("task", message, "set limit_train and limit_test, or a smaller image_size")


def _read(name: str, open_image: Callable[[], Image], size: int | None) -> Pixels:
    """One image, uint8 [C, H, W]."""
    from PIL.Image import DecompressionBombError

    try:
        with open_image() as image:
            return _pixels(name, image, size)
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, DecompressionBombError) as error:
        raise data_error("task", f"{name} is not a readable image: {error}", "replace or remove it") from error


def _pixels(name: str, image: Image, size: int | None) -> Pixels:
    from PIL import ImageOps
    from PIL.Image import Resampling

    if image.mode in _DEEP_MODES:
        remedy = "convert it to 8 bits a channel"
        raise data_error("task", f"{name} has more than 8 bits a channel (mode {image.mode})", remedy)
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns where it must drop a palette's transparency itself
    plain = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    if size is not None and plain.size != (size, size):
        plain = plain.resize((size, size), Resampling.BILINEAR)
    array = np.asarray(plain)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def equalise(parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parts of one data set, uint8 [N, C, H, W] each, with as many channels each: grey is repeated where needed.

    Raises:
        DataError: the parts differ in height or width.
    """
    (first, images), *others = parts.items()
    for name, other in others:
        if other.shape[2:] != images.shape[2:]:
            raise _sizes_differ(f"{first} images", images.shape[2:], f"{name} images", other.shape[2:])
    channels = max(part.shape[1] for part in parts.values())
    return {name: part if part.shape[1] == channels else part.repeat(1, channels, 1, 1) for name, part in parts.items()}


def _sizes_differ(first: str, size: tuple[int, ...], second: str, other: tuple[int, ...]) -> Exception:
    message = f"images must share one size, but {first}: {_size(size)}, {second}: {_size(other)} (width x height)"
    return data_error("task.image_size", message, "set image_size to resize them all")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
