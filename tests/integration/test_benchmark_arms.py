"""What the benchmark changes of autockd in every process of a run: seen in a process that Python itself changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autockd.config.tasks import Digits
from autockd.data import load_task
from autockd.data.order import EpochOrder

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from search_benchmark.ablation.sitecustomize import MODULES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SCRIPTS = Path(__file__).parents[2] / "scripts"

CHANGES = """
import importlib, inspect
import parts, sitecustomize

for technique, name in sitecustomize.MODULES.items():
    if technique == "warm_workers":
        continue  # it changes an argument that Tune is given
    module = importlib.import_module(name)
    own = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == name]
    before = [(place, dict(vars(place))) for place in (module, *own)]
    getattr(parts, f"without_{technique}")(module)
    pairs = [(was.get(name), now) for place, was in before for name, now in vars(place).items()]
    changed = [(was, now) for was, now in pairs if was is not now]
    assert changed, f"{technique}: nothing was taken away"
    for was, now in changed:
        asked = inspect.signature(was).parameters.values()
        named = {each.name: None for each in asked if each.kind is each.KEYWORD_ONLY}
        inspect.signature(now).bind(*[each for each in asked if each.name not in named], **named)
    print(technique)
"""


def test_what_takes_a_technique_away_can_be_called_as_what_it_takes_the_place_of() -> None:
    folders = os.pathsep.join([str(SCRIPTS / "search_benchmark" / "ablation"), str(SCRIPTS)])
    environment = {**os.environ, "PYTHONPATH": folders, "AUTOCKD_BENCHMARK_LENGTH": "8"}
    command = [sys.executable, "-c", CHANGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(MODULES) - {"warm_workers"}


BATCHES = """
import parts, torch
from autockd.config.tasks import Digits
from autockd.data import load_task
from autockd.data.image_feed import ImageFeed, Normalisation
from autockd.data.order import EpochOrder
from autockd.training import batches

task, _ = load_task(Digits(limit_train=200, augmentation={"crop_padding": 1, "flip": True}))
order, normalise = EpochOrder.of(task, 1), Normalisation.of(task, torch.device("cpu"))
feed = ImageFeed(task.train.inputs, task.views, normalise)
large = ImageFeed(task.train.inputs, task.views, normalise)
large._is_large, large._images = True, task.train.inputs
own = list(batches.Batches(feed, task.train.targets, 64).epoch(order))
parts.without_resident_data(batches)
for each in (feed, large):
    for ours, loaded in zip(own, batches.Batches(each, task.train.targets, 64).epoch(order), strict=True):
        torch.testing.assert_close(loaded.inputs, ours.inputs)
        assert torch.equal(loaded.targets, ours.targets) and loaded.rows == ours.rows
"""


def test_a_dataloader_in_place_of_resident_images_gives_the_same_batches() -> None:
    folders = os.pathsep.join([str(SCRIPTS / "search_benchmark" / "ablation"), str(SCRIPTS.parent)])
    command = [sys.executable, "-c", BATCHES]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": folders}
    )
    assert done.returncode == 0, done.stderr


ORDER = """
from autockd.config.tasks import Digits
from autockd.data import load_task
from autockd.data.order import EpochOrder

task, _ = load_task(Digits(limit_train=200))
print(EpochOrder.of(task, 1).indices.tolist())
"""


def test_every_round_has_another_order_of_the_same_samples() -> None:
    folders = os.pathsep.join([str(SCRIPTS / "search_benchmark" / "ablation"), str(SCRIPTS.parent)])
    environment = {**os.environ, "PYTHONPATH": folders, "AUTOCKD_BENCHMARK_ORDER": "3"}
    done = subprocess.run([sys.executable, "-c", ORDER], capture_output=True, text=True, check=True, env=environment)
    task, _ = load_task(Digits(limit_train=200))
    found, plain = json.loads(done.stdout), EpochOrder.of(task, 1).indices.tolist()
    assert found == EpochOrder.of(replace(task, seed=task.seed + 3), 1).indices.tolist() != plain
    assert sorted(found) == sorted(plain)
