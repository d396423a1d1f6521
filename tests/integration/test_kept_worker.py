"""Workers of this machine: one that makes a teacher ready stays, and those of trials have imported everything ahead;
there are no more of these at a time than memory has room for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from brief_trials import brief_trainable

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.schema import ResourceConfig, SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.config.trial import trial_config
from autockd.processor import usable_cores
from autockd.records import TrialReport
from autockd.search.cluster import Cluster, cluster
from autockd.search.halt import Halt
from autockd.search.proposal import Proposal
from autockd.search.resources import memory_for_trials
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
        seen = {"process": os.getpid(), "started": started(), "imported": "autockd.search.stages" in sys.modules}
        (folder / f"{number}.json").write_text(json.dumps(seen), encoding="utf-8")

    return brief_trainable(look)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Ray, for a study with a trial on each core."""
    with cluster(study(usable_cores()), tmp_path_factory.mktemp("study")) as join:
        yield join()


def run(machine: Cluster, trainable: Any, trials: int, folder: Path) -> list[Any]:
    """Run so many trials; what each has written into a file of its number."""
    drive(Book(study(trials)), trainable, machine.allocation.ray, folder, Halt(folder), trials=trials, retries=0)
    return [json.loads((folder / f"{number}.json").read_text()) for number in range(trials)]


def test_trials_run_on_workers_that_imported_everything_ahead(machine: Cluster, tmp_path: Path) -> None:
    """And the one that made things ready is kept, while they run on every core."""
    first, began = who_runs(machine), time.time()
    held, left = memory_of(machine)
    found = run(machine, looking_trainable(tmp_path), usable_cores(), tmp_path)
    assert who_runs(machine) == first
    assert held - left > 80e6, "an idle worker gives back what it has freed"
    assert first not in [seen["process"] for seen in found]
    assert all(seen["imported"] for seen in found)
    assert all(seen["started"] < began for seen in found)


@pytest.mark.skipif(usable_cores() < 2, reason="on one core trials follow each other anyway")
@pytest.mark.skipif(memory_for_trials() is None, reason="the system does not say what memory there is")
def test_trials_whose_memory_is_short_follow_each_other(machine: Cluster, tmp_path: Path) -> None:
    """Ray, which has cores for two, is asked for the memory of each."""
    room = memory_for_trials()
    assert room is not None

    def spend(number: int) -> None:
        began = time.time()
        time.sleep(0.5)
        (tmp_path / f"{number}.json").write_text(json.dumps([began, time.time()]), encoding="utf-8")

    assert machine.allocation.parallel >= 2
    assert machine.make_room(ResourceConfig(), room // 2)  # and what a worker takes beside
    assert machine.allocation.parallel == 1
    (_, first_ended), (second_began, _) = sorted(run(machine, brief_trainable(spend), 2, tmp_path))
    assert first_ended <= second_began
