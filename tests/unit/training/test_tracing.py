"""A trace of some steps of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.errors import EnvironmentProblem
from autockd.records import PrecisionChoice
from autockd.training import tracing
from autockd.training.tracing import SKIPPED, StepTracer
from autockd.training.trainer import Trainer

MakeTrial = Callable[..., TrialConfig]


def test_some_steps_are_written_and_the_run_is_the_same(
    task: Task, fp32: PrecisionChoice, make_trial: MakeTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "TRACED", 3)
    trial = make_trial("none", epochs=2, batch_size=30)
    path = tmp_path / "trials" / "trace.json"
    traced = [r.loss for r in Trainer(trial, task, fp32, tracer=StepTracer(path)).fit()]
    assert traced == [r.loss for r in Trainer(trial, task, fp32).fit()]
    names = [event.get("name", "") for event in json.loads(path.read_text())["traceEvents"]]
    assert 2 * (len(task.train) // 30) > SKIPPED + 3, "the run goes on behind the traced steps"
    assert names.count("Optimizer.step#SGD.step") == 3
    assert [file.name for file in path.parent.iterdir()] == ["trace.json"]


def test_a_run_that_ends_before_leaves_what_it_had(
    task: Task, fp32: PrecisionChoice, make_trial: MakeTrial, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    tracer = StepTracer(path)
    list(Trainer(make_trial("none", epochs=1), task, fp32, tracer=tracer).fit())
    assert not path.exists()
    tracer.close()
    assert path.exists()


def test_a_trace_that_cannot_be_written_is_the_machines_problem(
    task: Task, fp32: PrecisionChoice, make_trial: MakeTrial, tmp_path: Path
) -> None:
    (tmp_path / "trials").write_text("no folder")
    tracer = StepTracer(tmp_path / "trials" / "trace.json")
    list(Trainer(make_trial("none", epochs=1), task, fp32, tracer=tracer).fit())
    with pytest.raises(EnvironmentProblem, match=r"trace: cannot write .*trace\.json"):
        tracer.close()
