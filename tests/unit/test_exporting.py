"""A bundle may come from anywhere: its own data set is read only as far as that fetches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config.tasks import Glue, HuggingFace, TaskConfig, Text, Torchvision
from autockd.errors import ExportError
from autockd.exporting import _trusted


@pytest.mark.parametrize(
    "task",
    [
        HuggingFace(source="huggingface", path="owner/set"),
        Glue(source="glue", task="rte", path="nyu-mll/glue"),
        Text(source="text", path="owner/texts"),
    ],
    ids=lambda task: task.source,
)
def test_a_bundles_own_data_are_never_fetched(task: TaskConfig) -> None:
    with pytest.raises(ExportError, match=r"its data set .* is not on this machine; name it yourself"):
        _trusted(task, Path("bundle"))


def test_nor_downloaded() -> None:
    task = Torchvision(source="torchvision", dataset="CIFAR10", root=Path("here"), download=True)
    trusted = _trusted(task, Path("bundle"))
    assert isinstance(trusted, Torchvision)
    assert not trusted.download


def test_what_is_here_may_be_read(tmp_path: Path) -> None:
    task = HuggingFace(source="huggingface", path=str(tmp_path))
    assert _trusted(task, Path("bundle")) == task
