"""What is settled before a study starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from sample_records import PROVENANCE

from autockd import __version__
from autockd.config import StudyConfig, parse_study
from autockd.errors import StudyError
from autockd.folders import LEDGER
from autockd.pipeline import run_study
from autockd.records import StudyStarted
from autockd.study import ignore
from autockd.tracking import Ledger

STUDY = """\
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
"""


def study(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "study.yaml", Path.cwd(), overrides)


def test_a_change_that_may_not_be_is_refused_before_data_are_read_and_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.append(
            StudyStarted(
                time=1.0,
                study="s",
                config=study().model_dump(mode="json"),
                config_hash="c",
                metric="accuracy",
                direction="maximize",
                task_fingerprint="data",
                provenance=PROVENANCE.model_copy(update={"autockd": __version__}),
            )
        )
    before = (tmp_path / LEDGER).read_bytes()

    def start(*_: object) -> NoReturn:
        raise AssertionError("nothing may be started")

    monkeypatch.setattr("autockd.pipeline.cluster", start)
    with pytest.raises(StudyError, match="seed: 0 -> 1"):
        run_study(study("seed=1"), tmp_path, ignore, uri=None, experiment="digits", resume=True)
    assert (tmp_path / LEDGER).read_bytes() == before
