"""Distilling on texts as a user of torch and transformers writes it: the trial of the naive and the tuned arm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from search_benchmark.arms.images import kd_loss
from search_benchmark.setting import Setting

EVALUATION_BATCH = 64
WARMUP = 0.1


class Tokenized(Dataset[dict[str, Any]]):
    """A split, tokenized once; padded to the full length here, or by the collator batch by batch."""

    def __init__(self, setting: Setting, split: str, tokenizer: Any, *, padded: bool) -> None:
        data = json.loads((setting.path / "data.json").read_text(encoding="utf-8"))[split]
        padding = "max_length" if padded else False
        self.encoded = tokenizer(*data["columns"], truncation=True, max_length=setting.max_length, padding=padding)
        self.targets = data["targets"]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self.encoded.items()} | {"labels": self.targets[index]}


def load_tokenizer(setting: Setting) -> Any:
    """The tokenizer of teacher and student."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(setting.path / "student", local_files_only=True)


def load_model(setting: Setting, which: str) -> nn.Module:
    """The teacher or the student with its weights."""
    from transformers import AutoModelForSequenceClassification, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoModelForSequenceClassification.from_pretrained(
        setting.path / which, local_files_only=True, dtype=torch.float32
    )


def loaders(setting: Setting, *, tuned: bool) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of training and validation samples."""
    from transformers import DataCollatorWithPadding, default_data_collator

    tokenizer = load_tokenizer(setting)
    collate = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8) if tuned else default_data_collator
    options: dict[str, Any] = {"collate_fn": collate, "pin_memory": torch.cuda.is_available()}
    if tuned and setting.workers:
        options |= {"num_workers": setting.workers, "persistent_workers": True}
    train, validation = (Tokenized(setting, name, tokenizer, padded=not tuned) for name in ("train", "validation"))
    return (
        DataLoader(train, batch_size=setting.batch_size, shuffle=True, **options),
        DataLoader(validation, batch_size=EVALUATION_BATCH, **options),
    )


def train(config: dict[str, Any], setting: Setting, *, tuned: bool) -> Iterator[tuple[float, nn.Module]]:
    """One trial; yields the validation accuracy and the student after each epoch."""
    from transformers import get_linear_schedule_with_warmup

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher, student = (load_model(setting, which).to(device) for which in ("teacher", "student"))
    teacher.eval()
    train_loader, validation_loader = loaders(setting, tuned=tuned)
    optimizer = torch.optim.AdamW(groups(student, config), lr=config["learning_rate"], fused=tuned or None)
    steps = setting.epochs * len(train_loader)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    precision = torch.autocast(device.type, dtype=torch.bfloat16) if tuned and setting.bf16 else nullcontext()
    for _ in range(setting.epochs):
        student.train()
        for batch in train_loader:
            inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
            targets = inputs.pop("labels")
            with precision:
                with torch.no_grad():
                    wanted = teacher(**inputs).logits
                logits = student(**inputs).logits
            loss = kd_loss(logits.float(), wanted.float(), targets, config)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with precision:
            found = accuracy(student, validation_loader, device)
        yield found, student


def groups(model: nn.Module, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Decay for matrices alone."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config["weight_decay"]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    """Share of right answers, in fp32 or as autocast says."""
    model.eval()
    right = seen = 0
    for batch in loader:
        targets = batch.pop("labels")
        answers = model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits.argmax(dim=1).cpu()
        right, seen = right + int((answers == targets).sum()), seen + len(targets)
    return right / seen
