"""How commands that are printed name studies, bundles and data."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.cli.running import next_commands
from autockd.config import parse_study
from autockd.folders import STUDIES_ENV, study_argument
from autockd.study import Study

STUDY = """
name: s
task: {{source: glue, task: sst2, path: {path}}}
teacher: {{model: {{family: encoder, path: base}}}}
student: {{model: {{family: encoder}}}}
"""


@pytest.mark.parametrize(
    ("studies", "name", "expected"),
    [
        ("studies", "mine", "mine"),
        ("elsewhere", "mine", "{folder}/elsewhere/mine"),
        ("elsewhere/studies", "mine", "{folder}/elsewhere/studies/mine"),
        ("two words", "mine", "'{folder}/two words/mine'"),
    ],
)
def test_a_command_finds_the_study_that_it_names(
    studies: str, name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STUDIES_ENV, raising=False)
    monkeypatch.chdir(tmp_path)
    assert study_argument(Path(studies, name)) == expected.format(folder=tmp_path)


def test_the_named_folder_of_studies_is_where_commands_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STUDIES_ENV, str(tmp_path / "of mine"))
    assert study_argument(tmp_path / "of mine" / "a") == "a"


@pytest.mark.parametrize("is_here", [True, False])
def test_a_bundle_is_evaluated_on_data_of_the_hub_by_naming_them(
    is_here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle may come from anywhere, so nothing that it names is fetched unasked."""
    monkeypatch.setenv(STUDIES_ENV, str(tmp_path))
    text = STUDY.format(path=tmp_path if is_here else "nyu-mll/glue")
    study = Study(parse_study(text, "study.yaml", tmp_path), tmp_path / "s")
    evaluate = next_commands(study, tmp_path / "s" / "bundle")[-1]
    named = "" if is_here else f" --data {tmp_path}/s/study.yaml"
    assert evaluate == f"autockd evaluate {tmp_path}/s/bundle{named}"
