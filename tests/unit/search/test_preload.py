"""What workers import ahead: everything that a trial would, and only where Ray is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autockd.config.loading import load_study
from autockd.search.cluster import _keeps_every_core_busy
from autockd.search.preload import FIRST, preloading

SPACE = Path(__file__).parents[3] / "search_spaces" / "resnet8_from_resnet20_digits.yaml"

IMPORT = """
import json, os, sys
import autockd.search.preloaded
there = [name for name in ("torch._dynamo", "ray.tune", "transformers") if name in sys.modules]
print(json.dumps([there, os.getpriority(os.PRIO_PROCESS, 0)]))
"""


def imported(environment: dict[str, str]) -> tuple[list[str], int]:
    """Which of three libraries a process has once it imported the module, and how nice it is."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    there, niceness = json.loads(done.stdout)
    return there, niceness


def test_nothing_is_imported_in_other_processes() -> None:
    assert imported({})[0] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("image", ["torch._dynamo", "ray.tune"]), ("text", ["torch._dynamo", "ray.tune", "transformers"])],
)
def test_a_worker_has_what_its_kind_of_task_needs_and_is_no_nicer_afterwards(kind: str, expected: list[str]) -> None:
    there, niceness = imported(preloading(kind))
    assert there == expected
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness == imported(preloading(kind) | FIRST["env_vars"])[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_trial_imports_hardly_anything_more(kind: str) -> None:
    """A student is built and trained for a step; what is new beyond its own architecture's modules is few."""
    build = {
        "image": "from autockd.models.resnet import ResNet6n2; net = ResNet6n2(8, (4, 4, 4), 'A', classes=2)",
        "text": "from transformers import BertConfig, BertModel; net = BertModel(BertConfig(num_hidden_layers=1))",
    }
    step = f"""
import sys
import autockd.search.preloaded
before = set(sys.modules)
import torch
{build[kind]}
torch.optim.SGD(net.parameters(), lr=0.1).step()
print(len(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", step], env=os.environ | preloading(kind), capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30


@pytest.mark.parametrize(
    ("words", "has_gpu", "expected"),
    [
        (["search.trials=4"], False, True),
        (["search.trials=3"], False, False),
        (["search.trials=4"], True, False),
        (["search.trials=4", "resources.parallel_trials=3"], False, False),
        (["search.trials=4", "resources.parallel_trials=4"], False, True),
        (["search.trials=4", "resources.cpus_per_trial=2"], False, False),
        (["search.trials=4", "resources.address=auto"], False, False),
    ],
)
def test_workers_import_ahead_only_where_each_gets_a_trial(
    words: list[str], has_gpu: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.search.cluster.usable_cores", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert _keeps_every_core_busy(load_study(SPACE, words)) is expected
