"""Optuna's journal of a study."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from autockd.records import TrialOutcome
from autockd.search.journal import new_optuna_study, tell


def test_a_disk_without_symbolic_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", refuse)
    study = new_optuna_study("s", tmp_path / "optuna.journal", "maximize")
    cost = {"epochs": 1, "seconds": 0.0, "gpu_seconds": 0.0}
    tell(study, study.ask(), TrialOutcome(state="complete", value=0.5, **cost))
    assert study.best_value == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.journal"]


def test_a_killed_writers_lock_goes_with_its_journal(tmp_path: Path) -> None:
    (tmp_path / "optuna.journal").write_text("half a line")
    (tmp_path / "optuna.journal.lock").touch()
    assert new_optuna_study("s", tmp_path / "optuna.journal", "maximize").trials == []
