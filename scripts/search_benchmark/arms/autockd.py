"""autockd's arm: the study file of a real `autockd run`, and what its ledger says afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from autockd.records import EpochFinished, StudyFinished, TrialFinished
from autockd.tracking import events
from search_benchmark.profiles import CAPTURE, NOT_CAPTURED
from search_benchmark.setting import Result, Setting

HERE = Path(__file__).parent
HOOK = HERE.parent / "ablation"

STUDY = "study.yaml"
OFF_ENV, LENGTH_ENV, ORDER_ENV = "AUTOCKD_BENCHMARK_OFF", "AUTOCKD_BENCHMARK_LENGTH", "AUTOCKD_BENCHMARK_ORDER"


def command(study: dict[str, Any], setting: Setting, out: Path, trials: int, off: str | None) -> list[str]:
    """Write the study into `out`; the command that runs it."""
    weights = {name: str(setting.path / name / "model.safetensors") for name in ("teacher", "student")}
    points = [{**point} for point in setting.points[:trials]]
    search = {**study["search"], "trials": trials, "enqueue": points}
    whole = {**study, "teacher": {**study["teacher"]}, "search": search}
    if off in (*NOT_CAPTURED, CAPTURE):
        whole["resources"] = {**study["resources"], "cuda_graphs": False}
    if off == "bf16" and setting.bf16:
        whole["resources"] = {**study["resources"], "teacher_precision": "bf16"}  # it follows the students' by itself
    if setting.kind == "text":
        folders = {name: str(setting.path / name) for name in ("teacher", "student")}
        whole["teacher"]["model"] = {**setting.teacher, "path": folders["teacher"], "weights": weights["teacher"]}
        whole["student"] = {"model": {"family": "encoder", "path": folders["student"]}}
    else:
        whole["teacher"]["model"] = {**setting.teacher, "weights": weights["teacher"]}
        whole["student"] = {"model": {**setting.student, "weights": weights["student"]}}
    (out / STUDY).write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")  # just before it is run
    return [sys.executable, "-m", "autockd", "run", str(out / STUDY), "--studies", str(out / "studies")]


def environment(out: Path, setting: Setting, off: str | None, seed: int) -> dict[str, str]:
    """A cache of its own, so that every run is a first one; the hook that reorders samples, or takes a technique."""
    path = os.pathsep.join(part for part in (str(HOOK), os.environ.get("PYTHONPATH", "")) if part)
    own = {"AUTOCKD_CACHE": str(out / "cache"), "PYTHONPATH": path, ORDER_ENV: str(seed)}
    return own if off in (None, CAPTURE) else {**own, OFF_ENV: off, LENGTH_ENV: str(setting.max_length)}


def read_result(out: Path, trials: int) -> Result:
    """What the study's ledger says."""
    history = events(out / "studies" / "benchmark" / "ledger.jsonl")
    ends = {event.trial: event for event in history if isinstance(event, TrialFinished)}
    assert sorted(ends) == list(range(trials)), f"{len(ends)} trials of {trials}"
    assert all(event.state == "complete" for event in ends.values()), "every trial has to be complete"
    epochs = [event for event in history if isinstance(event, EpochFinished)]
    first = min(event.time - event.record.train_seconds - event.record.evaluate_seconds for event in epochs)
    (finish,) = [event for event in history if isinstance(event, StudyFinished)]
    facts = {"seconds to the first step": first - (out / STUDY).stat().st_mtime}
    if finish.bound is not None:
        facts |= {
            "bound, seconds": finish.bound.seconds,
            "bound / wall time of the study": finish.bound.share,
            "bound / time of training steps": finish.bound.training_share,
        }
    return Result(
        [ends[number].value or 0.0 for number in range(trials)],
        sorted(event.time for event in ends.values()),
        finish.split,
        facts,
    )
