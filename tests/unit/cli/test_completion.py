"""What a shell is told when it completes a word: commands, options, and names that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.cli.app import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two studies, a study file and a folder that holds another."""
    for study in ("studies/mine", "studies/other", "elsewhere/mine-too"):
        (tmp_path / study).mkdir(parents=True)
        (tmp_path / study / "study.yaml").touch()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mine.txt").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mine.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOCKD_STUDIES", raising=False)
    return tmp_path


def completed(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is told for the last word of a command line."""
    monkeypatch.setenv("_AUTOCKD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert main([]) == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("autockd st", ["stop", "status"]),
        ("autockd run --tr", ["--trials"]),
        ("autockd cat resnet8_from_resnet56", ["resnet8_from_resnet56_cifar10_jpeg"]),
        ("autockd run resnet8_from_resnet56", ["resnet8_from_resnet56_cifar10_jpeg"]),
        ("autockd validate mine", ["mine.yaml"]),
        ("autockd preview mo", ["more/"]),
        ("autockd run more/", ["more/mine.yml"]),
        ("autockd resume m", ["mine"]),
        ("autockd status ", ["mine", "other"]),
        ("autockd status --studies elsewhere m", ["mine-too"]),
    ],
)
def test_a_word_is_completed(
    words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed(words, monkeypatch, capsys) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_for_a_shell(
    shell: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert main(["--install-completion", shell]) == 0
    assert f"{shell} completion installed" in capsys.readouterr().out
    written = [path.read_text() for path in folder.rglob("*") if path.is_file() and "autockd" in path.name]
    assert any("_AUTOCKD_COMPLETE" in text for text in written)
