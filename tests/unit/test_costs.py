"""What is known of costs, and who says it first; that they are measured is seen in a whole study."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autockd.config.loading import parse_study
from autockd.config.models import CifarResNet
from autockd.config.trial import TrialConfig
from autockd.costs import CostMeter, Latency, _batches, _text_batches, _write_once, known_architectures
from autockd.data import Task
from autockd.export.images import PIXELS, ImageStudent
from autockd.models import Tokens

MakeTrial = Callable[..., TrialConfig]
KNOWN = Latency(milliseconds={"latency_ms": 0.25, "latency_ms_batch32": 4.0}, samples="x", runtime="y", machine="z")


def meter(folder: Path, *objectives: str) -> CostMeter:
    return CostMeter(objectives, folder / "costs", folder / "teacher")


def test_parameters_and_bytes_are_those_of_the_student(tmp_path: Path, task: Task, make_trial: MakeTrial) -> None:
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"x" * 321)
    found = meter(tmp_path, "bytes", "parameters")(make_trial("kd"), task, weights, 77)
    assert found == {"bytes": 321, "parameters": 77}
    assert list(found) == ["bytes", "parameters"]
    assert not (tmp_path / "costs").exists(), "no latency was asked for"


def test_one_architecture_has_one_latency_whatever_it_was_trained_with(
    tmp_path: Path, task: Task, make_trial: MakeTrial
) -> None:
    measure = meter(tmp_path, "latency_ms")
    trial = make_trial("kd")
    assert not measure.knows(trial)
    _write_once(measure._path(trial), KNOWN.model_dump_json())
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"")
    moved = make_trial("continuation", learning_rate=0.5, seed=9)
    moved = moved.model_copy(update={"student": moved.student.model_copy(update={"weights": Path("w.safetensors")})})
    assert pickle.loads(pickle.dumps(measure))(moved, task, weights, 1) == {"latency_ms": 0.25}
    wider = trial.model_copy(update={"student": CifarResNet(depth=8, width=3)})
    assert not measure.knows(wider)


def test_of_two_who_measure_at_a_time_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "costs" / "a.json"
    _write_once(path, "first")
    _write_once(path, "second")
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"], "no draft is left"


@pytest.mark.parametrize(("widths", "count"), [("[2, 4]", 3), ("[1, 2, 3, 4, 5, 6, 7, 8]", 9)])
def test_students_that_can_be_counted_are_known_beforehand(widths: str, count: int) -> None:
    text = f"""
name: s
task: {{source: digits}}
teacher: {{model: {{family: cifar_resnet, depth: 8}}}}
student: {{model: {{family: cifar_resnet, depth: 8, width: 4}}}}
method: {{name: kd}}
search: {{space: {{student_width: {{type: choice, choices: {widths}}}}}}}
"""
    study = parse_study(text, "s.yaml", Path.cwd())
    found = known_architectures(study)
    assert len(found) == count
    assert found[0].student == study.student.model
    many = parse_study(text, "s.yaml", Path.cwd(), ["search.space.student_width={type: int, low: 1, high: 64}"])
    assert [trial.student for trial in known_architectures(many)] == [study.student.model]


def test_batches_are_of_validation_images(task: Task) -> None:
    batches, samples = _batches(ImageStudent(None, None), task)  # type: ignore[arg-type]
    assert {size: batch[PIXELS].shape for size, batch in batches.items()} == {1: (1, 1, 8, 8), 32: (32, 1, 8, 8)}
    assert batches[32][PIXELS].max() <= 1
    assert samples == "images of 1x8x8"


@pytest.mark.parametrize("count", [3, 101])
def test_batches_of_texts_are_of_medium_length(count: int) -> None:
    lengths = torch.arange(1, count + 1)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    tokens = Tokens(torch.ones(int(offsets[-1]), dtype=torch.int32), offsets, None, 0)
    batches, samples = _text_batches(tokens)
    one, many = (batches[size]["attention_mask"] for size in (1, 32))
    assert one.shape == (1, count // 2 + 1)
    assert len(many) == 32
    assert many.sum(1).mean() == pytest.approx(count // 2 + 1, abs=1)
    assert (
        samples
        == f"texts of medium length: tokens are {count // 2 + 1} in a batch of 1 and {many.shape[1]} in a batch of 32"
    )
