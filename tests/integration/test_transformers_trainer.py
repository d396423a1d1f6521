"""The trainer beside that of transformers, through the script that compares them: the same steps, to the rounding."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from encoders import make_tiny_encoder
from torch import Tensor

from autockd.config.loading import parse_study
from autockd.data import TextTask, load_task
from autockd.training.networks import build_network

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from compare_with_trainer import by_autockd, by_transformers, trial_of

STUDY = """
name: films
task: {source: text, path: films.csv, label_column: label, max_length: 24, validation_fraction: 0.3}
teacher:
  model: {family: encoder, path: base}
  training: {optimizer: adamw}
student:
  model: {family: encoder, path: base, layers: [0, 2], dropout: 0, trim_vocabulary: true}
method: {name: kd}
training:
  epochs: 3
  batch_size: 8
  optimizer: adamw
  learning_rate: 3e-3
  weight_decay: 0.1
  max_grad_norm: 0.5
  lr_schedule: {shape: linear, warmup: 0.1}
"""


@pytest.mark.parametrize("problem", ["classification", "regression"])
def test_without_dropout_both_learn_the_same(problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batches, padded by two rules; the last of an epoch is smaller, and each weighs by its samples."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make_tiny_encoder(tmp_path / "base")
    with (tmp_path / "films.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for row in range(118):
            rows.writerow([" ".join(["the film is", *["very"] * (row % 7), ("bad", "good")[row % 2]]), row % 2])
    study = parse_study(STUDY, "films.yaml", tmp_path)
    study = study.model_copy(update={"task": study.task.model_copy(update={"problem": problem})})
    task, _ = load_task(study.task)
    assert isinstance(task, TextTask)
    assert 0 < len(task.train) % 8 < 4, "a smaller batch comes last"
    trial = trial_of(study, seed=4)
    ours = by_autockd(trial, task, 1, "fp32")
    theirs = by_transformers(trial, task, 1, "fp32", same_batches=True)
    fresh = build_network(trial.student, task, seed=4).state_dict()
    assert theirs.weights.keys() == ours.weights.keys() == fresh.keys()
    moved, apart = (_distance(other, ours.weights) for other in (fresh, theirs.weights))
    assert moved > 1
    assert apart < 0.01 * moved
    assert ours.metric == pytest.approx(theirs.metric, abs=1e-3)


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5
