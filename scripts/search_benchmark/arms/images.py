"""Distilling on images as a user of torch and torchvision writes it: the trial of the naive and the tuned arm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from search_benchmark.setting import Setting

EVALUATION_BATCH = 512


class Images(Dataset[tuple[Tensor, int]]):
    """As `torchvision.datasets.CIFAR10`: arrays in memory, an image and its transforms at a time."""

    def __init__(self, setting: Setting, split: str, *, augmented: bool = False) -> None:
        arrays = np.load(setting.path / "data.npz", allow_pickle=False)
        self.images, self.targets = arrays[f"x_{split}"], arrays[f"y_{split}"].tolist()
        size = self.images.shape[1:3]
        crop = transforms.RandomCrop(size, padding=setting.padding)
        steps = [transforms.ToTensor(), transforms.Normalize(setting.mean, setting.std)]
        self.transform = transforms.Compose(
            [crop, transforms.RandomHorizontalFlip(), *steps] if augmented else steps  # as every study here augments
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return self.transform(picture), self.targets[index]


def load_model(setting: Setting, which: str) -> nn.Module:
    """The teacher or the student with its weights."""
    from safetensors.torch import load_file

    from autockd.models.resnet import ResNet6n2

    shape, state = getattr(setting, which), load_file(setting.path / which / "model.safetensors")
    width, channels = shape.get("width", 16), state["conv1.weight"].shape[1]
    widths = (width, 2 * width, 4 * width)
    model = ResNet6n2(shape["depth"], widths, "A", classes=setting.classes, channels=channels)
    model.load_state_dict(state)
    return model


def kd_loss(student: Tensor, teacher: Tensor, targets: Tensor, config: dict[str, Any]) -> Tensor:
    """(1 - alpha) * CE + alpha * tau^2 * KL."""
    tau, alpha = config["temperature"], config["alpha"]
    soft = F.kl_div(F.log_softmax(student / tau, dim=1), F.softmax(teacher / tau, dim=1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(student, targets) + alpha * tau**2 * soft


def loaders(setting: Setting, *, tuned: bool) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of training and validation samples."""
    options: dict[str, Any] = {"pin_memory": torch.cuda.is_available()}
    if tuned and setting.workers:
        options |= {"num_workers": setting.workers, "persistent_workers": True}
    train = DataLoader(Images(setting, "train", augmented=True), batch_size=setting.batch_size, shuffle=True, **options)
    return train, DataLoader(Images(setting, "validation"), batch_size=EVALUATION_BATCH, **options)


def train(config: dict[str, Any], setting: Setting, *, tuned: bool) -> Iterator[tuple[float, nn.Module]]:
    """One trial; yields the validation accuracy and the student after each epoch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = torch.channels_last if tuned else torch.contiguous_format
    teacher = load_model(setting, "teacher").to(device).to(memory_format=layout).eval()
    student = load_model(setting, "student").to(device).to(memory_format=layout)
    train_loader, validation_loader = loaders(setting, tuned=tuned)
    optimizer = torch.optim.SGD(
        student.parameters(),
        lr=config["learning_rate"],
        momentum=0.9,
        weight_decay=config["weight_decay"],
        fused=tuned or None,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.epochs * len(train_loader))
    precision = torch.autocast(device.type, dtype=torch.bfloat16) if tuned and setting.bf16 else nullcontext()
    for _ in range(setting.epochs):
        student.train()
        for samples, labels in train_loader:
            images = samples.to(device, non_blocking=True, memory_format=layout)
            targets = labels.to(device, non_blocking=True)
            with precision:
                with torch.no_grad():
                    wanted = teacher(images)
                logits = student(images)
            loss = kd_loss(logits.float(), wanted.float(), targets, config)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with precision:
            found = accuracy(student, validation_loader, device, layout)
        yield found, student


@torch.no_grad()
def accuracy(
    model: nn.Module,
    loader: DataLoader[Any],
    device: torch.device,
    layout: torch.memory_format = torch.contiguous_format,
) -> float:
    """Share of right answers, in fp32 or as autocast says."""
    model.eval()
    right = seen = 0
    for images, targets in loader:
        answers = model(images.to(device, memory_format=layout)).argmax(dim=1).cpu()
        right, seen = right + int((answers == targets).sum()), seen + len(targets)
    return right / seen
