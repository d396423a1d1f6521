"""A name that is taken: what lies there, and how to go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_records import study_started

from autockd.cli.running import run_file
from autockd.config import StudyConfig, parse_study
from autockd.errors import StudyError
from autockd.folders import CONFIG, LEDGER
from autockd.study import Study
from autockd.tracking import Ledger

STUDY = """\
name: mine
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
"""


def study(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "mine.yaml", Path.cwd(), overrides)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Where the study `mine` has begun."""
    with Ledger(Study.create(study(), tmp_path).folder / LEDGER) as ledger:
        ledger.append(study_started(study()))
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], r"exists; go on with it \(`autockd resume \S+/mine`\), begin another with `name=mine-2` added to the com"),
        (["search.trials=80"], r"\(search.trials: 50 -> 80\); go on with it \(`autockd resume \S+ search.trials=80`\)"),
        (["seed=1"], r"other settings \(seed: 0 -> 1\); go on with it as it is there \(`autockd resume \S+/mine`\)"),
        (["seed=1", "search.trials=80"], r"as it is there \(`autockd resume \S+/mine`\)"),
        (["note=a b"], r"`autockd resume \S+ 'note=a b'`"),
        (["seed=1", "search.trials=80", "note=b", "training.epochs=99"], r"settings \(seed: 0 -> 1, .* and 1 more\)"),
    ],
)
def test_it_says_what_differs_and_how_to_go_on(overrides: list[str], said: str, studies: Path) -> None:
    with pytest.raises(StudyError, match=said):
        Study.create(study(*overrides), studies)


def test_one_whose_file_cannot_be_read_is_there_all_the_same(studies: Path) -> None:
    (studies / "mine" / CONFIG).write_text("name: [")
    with pytest.raises(StudyError, match="a study of this name exists; go on with it"):
        Study.create(study("seed=1"), studies)


def test_one_that_runs_is_offered_to_nobody_for_deletion(studies: Path) -> None:
    with Ledger(studies / "mine" / LEDGER), pytest.raises(StudyError, match=r"runs now .*`autockd stop") as found:
        Study.create(study("seed=1"), studies)
    assert "delete" not in str(found.value)


def test_a_dry_run_says_it_too(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(STUDY)
    options = {"studies": studies, "smoke": False, "dry_run": True, "as_json": False, "quiet": True}
    run_file(str(file), ["task.limit_train=200", "search.trials=2"], **options)
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"results would go to {studies}/mine: a study of this name exists with other settings (")
