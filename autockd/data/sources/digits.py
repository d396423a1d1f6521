"""scikit-learn's digits: real handwriting, embedded in the package."""

from __future__ import annotations

import numpy as np

from autockd.config.tasks import Digits
from autockd.data.sources.images import array_samples
from autockd.data.sources.raw import RawImages

_LARGEST = 16


def read_digits(config: Digits) -> RawImages:
    """1,797 grey images of 8x8 pixels, ten classes, no test split of their own.

    The pixels count the ink in 4x4 cells, 0..16; v becomes v * 255 / 16, rounded half up, so that 16 is 255.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    ink = digits.images.astype(np.int64)
    pixels = ((ink * 255 + _LARGEST // 2) // _LARGEST).astype(np.uint8)
    classes = tuple(str(name) for name in digits.target_names)
    return RawImages(config.name, classes, array_samples(pixels, digits.target.astype(np.int64), config.image_size))
