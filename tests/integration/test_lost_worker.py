"""A worker that dies while it has no trial costs the next one nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brief_trials import brief_trainable

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.records import TrialReport
from autockd.search.connection import connection
from autockd.search.halt import Halt
from autockd.search.proposal import Proposal
from autockd.search.runner import drive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONFIG = TrialConfig(method=HintonKD(), training=TrainingConfig(), student=CifarResNet(), seed=0)

IDLE = 1.0
"""Seconds for which the worker has nothing to do, and in which Ray learns of its end."""


class Book:
    """Trials one after the other; the worker of the first is killed before there is a second."""

    def __init__(self, folder: Path, trials: int) -> None:
        self._folder, self._trials = folder, trials
        self._proposed = 0
        self._killed: float | None = None
        self._ended: dict[int, str] = {}

    @property
    def all_proposed(self) -> bool:
        return self._proposed == self._trials

    @property
    def closed(self) -> tuple[int, ...]:
        return tuple(self._ended)

    @property
    def ended(self) -> dict[int, str]:
        """How each trial ended."""
        return self._ended

    def folder(self, study: Path, number: int) -> Path:
        return study / str(number)

    def propose(self) -> Proposal | None:
        if self.all_proposed or len(self._ended) < self._proposed:
            return None
        if self._proposed == 1:
            if self._killed is None:
                os.kill(int((self._folder / "process").read_text()), signal.SIGKILL)
                self._killed = time.monotonic()
            if time.monotonic() < self._killed + IDLE:
                return None
        self._proposed += 1
        return Proposal(self._proposed - 1, CONFIG)

    def report(self, report: TrialReport) -> bool:
        self._ended[report.trial] = "with a result"
        return True

    def give_up(self, number: int, reason: str) -> None:
        self._ended.setdefault(number, reason)


def leaving_its_number(folder: Path) -> Any:
    """A trainable that writes down which process runs it."""

    def look(number: int) -> None:
        (folder / "process").write_text(str(os.getpid()), encoding="utf-8")

    return brief_trainable(look)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with connection("local"):
        yield


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(("trials", "retries"), [(2, 1), (3, 0)])
def test_the_next_trial_runs_on_another_worker(tmp_path: Path, trials: int, retries: int) -> None:
    """Also where it is the last one, and where a trial may have no mishap."""
    book = Book(tmp_path, trials)
    drive(book, leaving_its_number(tmp_path), {"CPU": 1}, tmp_path, Halt(tmp_path), trials=trials, retries=retries)
    assert book.ended == dict.fromkeys(range(trials), "with a result")
