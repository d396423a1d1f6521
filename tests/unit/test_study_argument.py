"""Where things are kept, and how commands name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.folders import STUDIES_ENV, study_argument


@pytest.mark.parametrize(
    ("studies", "name", "expected"),
    [
        ("studies", "mine", "mine"),
        ("elsewhere", "mine", "{folder}/elsewhere/mine"),
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
