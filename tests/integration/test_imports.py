"""What each entrance imports, seen in a process of its own: light things stay light, and a trial needs torch alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autockd.config.models import CifarResNet
from autockd.config.tasks import Digits
from autockd.data import load_task
from autockd.export import ImageBundleConfig, ImageStudent, write_bundle
from autockd.models import build_model
from autockd.provenance import provenance
from autockd.search.preload import FIRST, preloading

LOAD_DIGITS = """
import json, sys
from autockd.config.tasks import Digits
from autockd.data import load_task
heavy = [name for name in ("datasets", "torchvision", "sklearn", "PIL") if name in sys.modules]
fingerprints = [part.fingerprint for part in load_task(Digits(validation_fraction=0.25))]
print(json.dumps({"heavy": heavy, "fingerprints": fingerprints}))
"""

TRAIN_A_TRIAL = """
import json, sys
import torch
from autockd.config.methods import ContinuationKD
from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data.task import ImageTask, Split
from autockd.data.views import Views
from autockd.records import PrecisionChoice
from autockd.training.live_teacher import LiveTeacher
from autockd.training.trainer import Trainer
from autockd.models import build_model
import autockd.training.bank, autockd.training.teacher, autockd.training.checkpoint

split = Split(torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8), torch.randint(10, (64,)))
task = ImageTask(
    name="x",
    train=split,
    validation=split,
    classes=tuple("abcdefghij"),
    seed=0,
    views=Views(1),
    mean=(0.5,),
    std=(0.5,),
)
model = build_model(CifarResNet(width=2), classes=10, channels=1, image_size=(8, 8), seed=0)
live = LiveTeacher(CifarResNet(width=2), model, task, torch.device("cpu"))
trial = TrialConfig(
    method=ContinuationKD(smoothing_start=1), training=TrainingConfig(epochs=1), student=CifarResNet(width=2), seed=0
)
precision = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="")
(record,) = Trainer(trial, task, precision, bank=live, second_moment=1.0).fit()
assert record.epoch == 1
heavy = ("ray", "optuna", "mlflow", "sklearn", "datasets", "transformers", "matplotlib", "onnx", "onnxruntime")
compilers = ("torch._dynamo", "torch._inductor")
print(json.dumps(sorted({*heavy, *compilers} & set(sys.modules))))
"""

LOAD_BUNDLE = """
import json, sys
from pathlib import Path
import autockd.export as export
export.load_bundle(Path(sys.argv[1]))
heavy = {"ray", "optuna", "mlflow", "sklearn", "onnx", "onnxruntime", "matplotlib", "datasets", "transformers"}
floors = {"autockd.training", "autockd.search", "autockd.tracking", "autockd.distillation"}
print(json.dumps(sorted((heavy | floors) & set(sys.modules))))
"""

PRELOAD = """
import gc, json, os, sys
import autockd.search.preloaded
looks_after = gc.get_threshold()[0]
before = set(sys.modules)
there = [name for name in ("autockd.search.stages", "ray.tune", "torchvision", "transformers") if name in before]
niceness = os.getpriority(os.PRIO_PROCESS, 0)
"""

TRAIN_A_STEP = """
from autockd.config.training import TrainingConfig
from autockd.training.optimizer import make_optimizer
{build}
make_optimizer(network, TrainingConfig()).step()
compilers = [name for name in ("torch._dynamo", "triton") if sys.modules.get(name)]
print(json.dumps([there, niceness, len(set(sys.modules) - before), compilers]))
"""

BUILD = {
    "image": "from autockd.models.resnet import ResNet6n2; network = ResNet6n2(8, (4, 4, 4), 'A', classes=2)",
    "torchvision": "import torchvision.models; network = torchvision.models.get_model('resnet18', num_classes=2)",
    "text": "from transformers import BertConfig, BertModel; network = BertModel(BertConfig(num_hidden_layers=1))",
}
AHEAD = {
    "image": ["autockd.search.stages", "ray.tune"],
    "torchvision": ["autockd.search.stages", "ray.tune", "torchvision"],
    "text": ["autockd.search.stages", "ray.tune", "torchvision", "transformers"],  # the last asks for the one before
}


def _run(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What there is of heavy imports after loading a bundle, after a trial and before loading a task, in one process.

    None hides what the next one imports: what is too heavy for a trial is so for a bundle, and the task finds what both
    have left. Only then is it read, with scikit-learn.
    """
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    save_bundle(folder)
    return [json.loads(line) for line in _run(LOAD_BUNDLE + TRAIN_A_TRIAL + LOAD_DIGITS, str(folder)).splitlines()]


def save_bundle(folder: Path) -> None:
    architecture = CifarResNet(depth=8, width=2)
    model = build_model(architecture, classes=10, channels=1, image_size=(8, 8), seed=0)
    config = ImageBundleConfig(
        architecture=architecture,
        classes=tuple("0123456789"),
        channels=1,
        image_size=(8, 8),
        mean=(0.3,),
        std=(0.4,),
        study="digits",
        method="none",
        provenance=provenance(folder.parent),
    )
    write_bundle(folder, ImageStudent(config, model), examples=load_task(Digits())[0].validation, onnx=False)


def test_loading_a_task_imports_only_what_it_needs_and_finds_the_same(looks: list[Any]) -> None:
    task, held_out = load_task(Digits(validation_fraction=0.25))
    assert looks[2] == {"heavy": [], "fingerprints": [task.fingerprint, held_out.fingerprint]}


def test_loading_a_bundle_imports_no_training_search_or_tracking_code(looks: list[Any]) -> None:
    assert looks[0] == []


def test_a_trial_needs_torch_alone(looks: list[Any]) -> None:
    assert looks[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", AHEAD)
def test_a_worker_has_imported_ahead_what_a_trial_needs_and_is_no_nicer_for_it(kind: str) -> None:
    """A student is built and trained for a step; what is new beyond its own architecture's modules is few."""
    code = PRELOAD + TRAIN_A_STEP.format(build=BUILD[kind])
    there, niceness, more, compilers = json.loads(_run(code, **preloading(kind)))
    assert there == AHEAD[kind]
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0)
    assert more < 30
    assert compilers == ([] if kind == "image" else ["torch._dynamo"]), "torchvision and transformers ask for this one"


@pytest.mark.slow
def test_the_worker_that_makes_things_ready_does_without_tune_and_stands_back_behind_nobody() -> None:
    report = "print(json.dumps([there, niceness]))"
    found = json.loads(_run(PRELOAD + report, **preloading("image"), **FIRST["env_vars"]))
    assert found == [["autockd.search.stages"], os.getpriority(os.PRIO_PROCESS, 0)]


def test_nobody_else_imports_anything_ahead() -> None:
    assert json.loads(_run(PRELOAD + "print(json.dumps(there))", **preloading(None))) == []


@pytest.mark.parametrize("kind", ["image", None])
def test_a_worker_looks_for_garbage_seldom(kind: str | None) -> None:
    assert int(_run(PRELOAD + "print(looks_after)", **preloading(kind))) > 10_000
