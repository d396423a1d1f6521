"""A finite set of augmented views of an image, as batched tensor code.

View v of an image pads it with p black pixels on each side, cuts out the original size at offset (dy, dx), each
0..2p, and mirrors it if the flip bit is set: v = (dy * (2p + 1) + dx) * flips + flip. A finite set is what makes a
bank of teacher outputs exact: (sample, view) names one image, whoever asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from autockd.hashing import content_hash


@dataclass(frozen=True)
class Views:
    """Random crop after zero padding, and horizontal flip.

    Attributes:
        crop_padding: p, pixels of padding on each side.
        flip: whether mirrored images are views.
    """

    crop_padding: int = 0
    flip: bool = False

    @property
    def count(self) -> int:
        """Number of views of one image: (2p + 1)^2, twice that with flips."""
        return (2 * self.crop_padding + 1) ** 2 * (2 if self.flip else 1)

    @property
    def identity(self) -> int:
        """The view that is the image itself."""
        side = 2 * self.crop_padding + 1
        return (self.crop_padding * side + self.crop_padding) * (2 if self.flip else 1)

    def pad(self, images: torch.Tensor) -> torch.Tensor:
        """Images [N, C, H, W] with their padding, to be given to `render` as often as wanted.

        They are copied, channels_last, where there is more than one view of them.
        """
        if self.count == 1:
            return images
        padded = F.pad(images, [self.crop_padding] * 4) if self.crop_padding else images
        return padded.contiguous(memory_format=torch.channels_last)  # a pixel's channels are read together

    def render(self, padded: torch.Tensor, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        """The views of some samples.

        Args:
            padded: [N, C, H + 2p, W + 2p], from `pad`.
            indices: int64 [B], samples.
            views: int64 [B], view of each, 0..count-1.

        Returns:
            [B, C, H, W] of the dtype of `padded`; channels_last where there is more than one view.
        """
        if self.count == 1:
            return padded[indices]
        flips = 2 if self.flip else 1
        side = 2 * self.crop_padding + 1
        flipped = views % flips
        dy, dx = views // flips // side, views // flips % side
        whole_height, whole_width = padded.shape[2:]
        height, width = whole_height - side + 1, whole_width - side + 1
        rows = dy[:, None] + torch.arange(height, device=padded.device)
        columns = torch.arange(width, device=padded.device)
        columns = dx[:, None] + torch.where(flipped[:, None] == 1, width - 1 - columns, columns)
        lines = indices[:, None] * whole_height + rows
        places = lines[:, :, None] * whole_width + columns[:, None, :]  # [B, H, W], of pixels
        pixels = padded.permute(0, 2, 3, 1).reshape(-1, padded.shape[1])
        return pixels[places].permute(0, 3, 1, 2)

    def of_epoch(self, samples: int, seed: int, epoch: int) -> torch.Tensor:
        """The view of every sample in one epoch: int64 [samples], a function of (seed, epoch, sample) alone."""
        generator = seeded("views", seed, epoch)
        return torch.randint(self.count, (samples,), generator=generator)


def order_of_epoch(samples: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of the samples in one epoch: a permutation, int64 [samples], a function of (seed, epoch) alone."""
    return torch.randperm(samples, generator=seeded("order", seed, epoch))


def seeded(*key: str | int) -> torch.Generator:
    """A CPU generator whose stream is named by `key`; different keys give independent streams."""
    return torch.Generator().manual_seed(int(content_hash(list(key))[:15], 16))
