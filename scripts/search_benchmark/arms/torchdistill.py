"""The same trial through torchdistill's DistillationBox, its KDLoss and its loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import RandomSampler, SequentialSampler

from search_benchmark.arms.images import EVALUATION_BATCH, Images, accuracy, load_model
from search_benchmark.setting import Setting


def train(config: dict[str, Any], setting: Setting) -> Iterator[tuple[float, nn.Module]]:
    """One trial; yields the validation accuracy and the student after each epoch."""
    import torchdistill.losses.mid_level  # noqa: F401 - registers KDLoss
    from torchdistill.core.distillation import get_distillation_box

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher, student = (load_model(setting, which).to(device) for which in ("teacher", "student"))
    teacher.eval()
    data = {"train": Images(setting, "train", augmented=True), "validation": Images(setting, "validation")}
    steps = setting.epochs * -(-len(data["train"]) // setting.batch_size)
    box = get_distillation_box(teacher, student, data, recipe(config, setting, steps), device, None, False, 1.0)
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for samples, targets, extra in box.train_data_loader:
            loss = box.forward_process(samples.to(device), targets.to(device), extra)
            box.post_forward_process(loss=loss)
        box.post_epoch_process()
        yield accuracy(student, box.val_data_loader, device), student


def recipe(config: dict[str, Any], setting: Setting, steps: int) -> dict[str, Any]:
    """The stage's configuration, as torchdistill's own YAML files of KD say it."""
    logits = {"module_path": ".", "module_io": "output"}
    # On a CPU trials have all of its cores; beside a GPU they load images as the tuned arm does.
    loading: dict[str, Any] = {"num_workers": 0}
    if torch.cuda.is_available() and setting.workers:
        loading = {"num_workers": setting.workers, "persistent_workers": True, "pin_memory": True}
    loss = {
        "key": "KDLoss",
        "kwargs": {
            **{f"student_{name}": value for name, value in logits.items()},
            **{f"teacher_{name}": value for name, value in logits.items()},
            "temperature": config["temperature"],
            "alpha": 1 - config["alpha"],  # here the hard loss's share
            "reduction": "batchmean",
        },
    }
    return {
        "num_epochs": setting.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {"batch_size": setting.batch_size, "drop_last": False, **loading},
        },
        "val_data_loader": {
            "dataset_id": "validation",
            "sampler": {"class_or_func": SequentialSampler},
            "requires_supp": False,
            "kwargs": {"batch_size": EVALUATION_BATCH, "drop_last": False, **loading},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {
            "key": "SGD",
            "kwargs": {
                "lr": config["learning_rate"],
                "momentum": 0.9,
                "weight_decay": config["weight_decay"],
            },
        },
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": steps}, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}},
    }
