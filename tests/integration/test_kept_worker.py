"""Workers of this machine: one that makes a teacher ready stays, and those of trials have imported everything ahead;
there are no more of these at a time than memory has room for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from brief_trials import brief_trainable

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.config.trial import trial_config
from autockd.processor import usable_cores
from autockd.records import TrialReport
from autockd.search.cluster import Cluster, cluster
from autockd.search.halt import Halt
from autockd.search.proposal import Proposal
from autockd.search.runner import drive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(torch.cuda.is_available(), reason="an idle worker would keep a GPU's memory"),
]

STOPPED_AFTER = 3.0
"""Seconds after which Ray has stopped the idle workers that it does not keep; it takes one."""


def who_runs(machine: Cluster) -> int:
    """The process that a function runs in; workers cannot import this module, so the function travels whole."""

    def process() -> int:
        return os.getpid()

    return machine.call(process)


def memory_of(machine: Cluster) -> tuple[int, int]:
    """Bytes of the worker while a function has 100 MB there, all but a piece of it free, and in the next call."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def freeing() -> int:
        pieces = [bytearray(b"x") * 50_000 for _ in range(2000)]
        sys.kept = pieces[-1]  # type: ignore[attr-defined] # what was freed lies below it, and would stay
        del pieces
        return resident()

    return machine.call(freeing), machine.call(resident)


def study(trials: int) -> StudyConfig:
    """On digits, with so many trials."""
    return StudyConfig(
        name="workers",
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet(depth=8, widths=(4, 4, 4))),
        student=StudentConfig(model=CifarResNet(depth=8, widths=(4, 4, 4))),
        method=HintonKD(),
        training=TrainingConfig(epochs=1),
        search=SearchConfig(trials=trials, baselines=()),
    )


class Book:
    """So many trials of a study, one after the other."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._proposed = 0
        self._closed: list[int] = []

    @property
    def all_proposed(self) -> bool:
        return self._proposed == self._config.search.trials

    @property
    def closed(self) -> tuple[int, ...]:
        return tuple(self._closed)

    def folder(self, study: Path, number: int) -> Path:
        return study / str(number)

    def propose(self) -> Proposal | None:
        if self.all_proposed:
            return None
        self._proposed += 1
        return Proposal(self._proposed - 1, trial_config(self._config, {}))

    def report(self, report: TrialReport) -> bool:
        self._closed.append(report.trial)
        return True

    def give_up(self, number: int, reason: str) -> None:
        assert number in self._closed, reason


def looking_trainable(folder: Path) -> Any:
    """A trainable that needs nothing of torch, and writes down what its worker has imported of it."""

    def started() -> float:
        """When this process was started, in seconds since the epoch."""
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))

    def look(number: int) -> None:
        time.sleep(STOPPED_AFTER)
        seen = {"process": os.getpid(), "started": started(), "imported": "torch._dynamo" in sys.modules}
        (folder / f"{number}.json").write_text(json.dumps(seen), encoding="utf-8")

    return brief_trainable(look)


def test_trials_run_on_workers_that_imported_everything_ahead(tmp_path: Path) -> None:
    """And the one that made things ready is kept, while they run on every core."""
    trials = usable_cores()
    config = study(trials)
    with cluster(config, tmp_path) as join:
        machine = join()
        first, began = who_runs(machine), time.time()
        held, left = memory_of(machine)
        share = machine.allocation.ray
        drive(Book(config), looking_trainable(tmp_path), share, tmp_path, Halt(tmp_path), trials=trials, retries=0)
        assert who_runs(machine) == first
    assert held - left > 80e6, "an idle worker gives back what it has freed"
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(found) == trials
    assert first not in [seen["process"] for seen in found]
    assert all(seen["imported"] for seen in found)
    assert all(seen["started"] < began for seen in found)


@pytest.mark.skipif(usable_cores() < 2, reason="on one core trials follow each other anyway")
def test_trials_whose_memory_is_short_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, which has cores for two, is asked for the memory of each."""
    machine_memory = 6 << 30
    monkeypatch.setattr("autockd.search.resources.memory", lambda: (machine_memory, machine_memory))
    config, trials = study(2), 2

    def spend(number: int) -> None:
        began = time.time()
        time.sleep(0.5)
        (tmp_path / f"{number}.json").write_text(json.dumps([began, time.time()]), encoding="utf-8")

    with cluster(config, tmp_path) as join:
        machine = join()
        assert machine.allocation.parallel >= 2
        assert machine.make_room(config.resources, 2 << 30)
        share = machine.allocation.ray
        assert share["memory"] > 2 << 30
        drive(Book(config), brief_trainable(spend), share, tmp_path, Halt(tmp_path), trials=trials, retries=0)
    (_, first_ended), (second_began, _) = sorted(json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert first_ended <= second_began
