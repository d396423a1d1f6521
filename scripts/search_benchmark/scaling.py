"""Whether a search's cost grows linearly with its trials: short trials, real proposals, everything else real too.

python -m search_benchmark.scaling OUT [--trials 8 32 128]
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autockd.records import EpochFinished, Event, StudyFinished, TrialFinished, TrialStarted
from autockd.tracking import events
from search_benchmark.profiles import IMAGE_SPACE

STUDY: dict[str, Any] = {
    "name": "scaling",
    "task": {"source": "digits", "limit_train": 400, "limit_test": 100},
    "teacher": {
        "model": {"family": "cifar_resnet", "depth": 8, "width": 4},
        "training": {"epochs": 1, "batch_size": 64, "learning_rate": 0.1},
    },
    "student": {"model": {"family": "cifar_resnet", "depth": 8, "width": 4}},
    "method": {"name": "kd"},
    "training": {"epochs": 4, "batch_size": 64},
    "resources": {"precision": "fp32"},
}
EDGE = 8
"""Trials at either end of a search that are compared."""


@dataclass(frozen=True)
class Scale:
    """A search of some size.

    Attributes:
        trials: how many.
        wall: seconds of the whole command.
        search: seconds from the first trial's first step to the last one's end.
        early, late: median seconds from a trial's end to the start of the next one, among the first and the last few.
        startup: seconds from the command to the first training step.
    """

    trials: int
    wall: float
    search: float
    early: float
    late: float
    startup: float


def measure(trials: int, out: Path) -> Scale:
    """Run one search in a process of its own."""
    folder = out / f"scaling-{trials}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    study = {**STUDY, "search": {"trials": trials, "space": IMAGE_SPACE, "baselines": [], "enqueue_defaults": False}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    command = [sys.executable, "-m", "autockd", "run", str(folder / "study.yaml"), "--studies", str(folder), "--quiet"]
    environment = {**os.environ, "AUTOCKD_CACHE": str(out / "scaling-cache")}  # the teacher is trained once
    began, clock = time.time(), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - clock
    return scale_of(events(folder / "scaling" / "ledger.jsonl"), trials, began, wall)


def scale_of(history: list[Event], trials: int, began: float, wall: float) -> Scale:
    """What a ledger says."""
    assert any(isinstance(event, StudyFinished) for event in history)
    starts = [event.time for event in history if isinstance(event, TrialStarted)]
    ends = sorted(event.time for event in history if isinstance(event, TrialFinished))
    first = min(
        event.time - event.record.train_seconds - event.record.evaluate_seconds
        for event in history
        if isinstance(event, EpochFinished)
    )
    gaps = [start - max((end for end in ends if end <= start), default=start) for start in starts]
    later = [gap for gap, start in zip(gaps, starts, strict=True) if start > ends[0]]
    early, late = later[:EDGE], later[-EDGE:]
    return Scale(trials, wall, ends[-1] - first, statistics.median(early), statistics.median(late), first - began)


def table(scales: list[Scale]) -> str:
    """As Markdown."""
    lines = [
        "| trials | whole command | search | one more costs | end to next start: first 8 | last 8 | first step after |",
        "|---|---|---|---|---|---|---|",
    ]
    slopes = [(b.search - a.search) / (b.trials - a.trials) for a, b in itertools.pairwise(scales)]
    for scale, slope in zip(scales, [None, *slopes], strict=True):
        more = "" if slope is None else f"{1e3 * slope:.0f} ms"
        gaps = f"{1e3 * scale.early:.0f} ms | {1e3 * scale.late:.0f} ms"
        times = f"{scale.wall:.1f} s | {scale.search:.1f} s"
        lines.append(f"| {scale.trials} | {times} | {more} | {gaps} | {scale.startup:.1f} s |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the studies")
    parser.add_argument("--trials", type=int, nargs="+", default=[8, 32, 128])
    options = parser.parse_args()
    print(table([measure(trials, options.out.absolute()) for trials in options.trials]))


if __name__ == "__main__":
    main()
