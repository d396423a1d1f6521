"""What a run of autockd is changed by: another order of samples, or, in a technique's place, what a user would have
without it. The mathematics of a trial stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any


def with_order(module: ModuleType) -> None:
    """Another order and other views of the samples, of the same splits: as the baselines have it, round by round."""
    own, shift = module.EpochOrder.of, int(os.environ["AUTOCKD_BENCHMARK_ORDER"])
    module.EpochOrder.of = lambda task, epoch: own(replace(task, seed=task.seed + shift), epoch)


def without_bank(module: ModuleType) -> None:
    """The teacher answers anew for every sample of every epoch of every trial."""

    def logits(self: Any, indices: Any, views: Any) -> Any:
        self.misses += len(indices)
        return self._live.logits(indices, views)

    module.TeacherBank.logits = logits
    module.TeacherBank.fill = lambda self, indices, views: 0
    module.TeacherBank.check = lambda self, entries, seed=0: (0, 0.0)


def without_teacher_bf16(module: ModuleType) -> None:
    """The teacher answers in fp32."""
    module._as_before = lambda config, known, precision: ("fp32", known.weights_hash if known else None)


def without_trimmed_vocabulary(module: ModuleType) -> None:
    """Every row of the word embedding is trained, used or not."""
    module.trims_vocabulary = lambda *args: False


def without_quick_attention(module: ModuleType) -> None:
    """Attention and dropout of encoders as transformers and torch have them."""
    module.use_quick_attention = module.use_quick_dropout = lambda network: None


def without_bf16(module: ModuleType) -> None:
    """Every step in fp32, in the same memory format; on a GPU without TF32, which the naive arm has in convolutions."""
    _changed(module, precision="fp32")


def without_channels_last(module: ModuleType) -> None:
    """Images in torch's own memory format, in the same precision."""
    _changed(module, channels_last=False)


def without_folding(module: ModuleType) -> None:
    """Teachers, and students where they are validated, as they are: with normalisation, sum and ReLU of their own."""
    module.folded = lambda network, precision="fp32": network


def without_one_thread(module: ModuleType) -> None:
    """As many threads in each trial as there are cores, as torch has it by itself."""
    from autockd.processor import usable_cores

    _changed(module, threads=usable_cores(), alone=None)  # or the watch over them would leave an epoch to one


def _changed(module: ModuleType, **change: Any) -> None:
    module.remembered = lambda probe, of, threads, device, cache: probe()[0].model_copy(update=change)


def without_fused_optimizer(module: ModuleType) -> None:
    """The optimizer as torch makes it if nothing is said."""
    make = module.make_optimizer

    def unfused(*args: Any, **kwargs: Any) -> Any:
        optimizer = make(*args, **kwargs)
        for group in optimizer.param_groups:
            group["fused"] = None
        return optimizer

    module.make_optimizer = unfused


def without_warm_workers(module: ModuleType) -> None:
    """A worker process for each trial."""
    from ray import tune

    config = tune.TuneConfig
    tune.TuneConfig = lambda **settings: config(**{**settings, "reuse_actors": False})


def without_early_imports(module: ModuleType) -> None:
    """Workers import what they need once they need it."""
    module._keeps_every_core_busy = lambda study: False


def without_real_lengths(module: ModuleType) -> None:
    """Every text padded to the task's longest."""
    batch, longest = module.Tokens.batch, int(os.environ["AUTOCKD_BENCHMARK_LENGTH"])

    def padded(self: Any, rows: Any, *, multiple: int = 8, length: int | None = None) -> Any:
        return batch(self, rows, multiple=multiple, length=longest)

    module.Tokens.batch = padded


def without_resident_data(module: ModuleType) -> None:
    """A DataLoader that opens, crops, mirrors, converts and normalises image by image, in the same order."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import functional

    class Loaded(Dataset):  # type: ignore[type-arg]
        def __init__(self, feed: Any, targets: Any, order: Any) -> None:
            self.images, self.views, self.is_padded = feed._images.cpu(), feed._views, not feed._is_large
            self.targets, self.order = targets.cpu(), order
            scale, shift = (part.flatten().cpu() for part in (feed._normalise.scale, feed._normalise.shift))
            self.std = (1 / (255 * scale)).tolist()
            self.mean = (-shift / (255 * scale)).tolist()

        def __len__(self) -> int:
            return len(self.order.indices)

        def __getitem__(self, place: int) -> tuple[Any, Any]:
            row, view = int(self.order.indices[place]), int(self.order.views[place])
            side, flips = 2 * self.views.crop_padding + 1, 2 if self.views.flip else 1
            pixels = self.images[row] if self.is_padded else self.views.pad(self.images[row : row + 1])[0]
            height, width = pixels.shape[1] - side + 1, pixels.shape[2] - side + 1
            array = pixels.permute(1, 2, 0).numpy()
            picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
            picture = functional.crop(picture, view // flips // side, view // flips % side, height, width)
            picture = functional.hflip(picture) if view % flips else picture
            return functional.normalize(functional.to_tensor(picture), self.mean, self.std), self.targets[row]

    def epoch(self: Any, order: Any) -> Iterator[Any]:
        layout = torch.channels_last if self._feed._normalise.channels_last else torch.contiguous_format
        device = self._targets.device
        start = 0
        for images, targets in DataLoader(Loaded(self._feed, self._targets, order), batch_size=self._batch_size):
            rows = slice(start, start + len(targets))
            start = rows.stop
            yield module.Batch(images.to(device, memory_format=layout), targets.to(device), rows)

    module.Batches.epoch = epoch
