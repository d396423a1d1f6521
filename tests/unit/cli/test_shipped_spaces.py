"""Finding, copying and reading the shipped search spaces, and what FILE on the command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.cli.spaces import copy_space, find_space, load_file, shipped_spaces, spaces_folder
from autockd.errors import ConfigError, EnvironmentProblem, UsageError

MINIMAL = """\
# A study of nothing much.
name: tiny
task: {source: npz, path: data.npz}
teacher: {model: {family: cifar_resnet, depth: 8}}
student: {model: {family: cifar_resnet, depth: 8, width: 4}}
"""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped search spaces with one in it."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "tiny_from_small.yaml").write_text(MINIMAL)
    monkeypatch.setattr("autockd.cli.spaces.spaces_folder", lambda: folder)
    return folder


def test_a_checkout_has_its_spaces_at_its_top() -> None:
    assert spaces_folder() == Path(__file__).parents[3] / "search_spaces"


def test_a_space_is_listed_by_name_with_its_first_comment(shipped: Path) -> None:
    (shipped / "b.yaml").write_text("name: b\n")
    assert [(space.name, space.summary) for space in shipped_spaces()] == [
        ("b", ""),
        ("tiny_from_small", "A study of nothing much."),
    ]


@pytest.mark.parametrize("name", ["tiny_from_small", "tiny_from_small.yaml"])
def test_a_space_is_found_with_or_without_its_suffix(shipped: Path, name: str) -> None:
    assert find_space(name).path == shipped / "tiny_from_small.yaml"


def test_an_unknown_space_gets_the_nearest_name(shipped: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'tiny_from_small'"):
        find_space("tiny_from_smal")
    with pytest.raises(UsageError, match="autockd ls"):
        find_space("../../etc/passwd")


def test_a_copy_goes_to_a_file_or_into_a_folder_and_overwrites_nothing(shipped: Path, tmp_path: Path) -> None:
    assert copy_space("tiny_from_small", tmp_path / "mine.yaml").read_text() == MINIMAL
    assert copy_space("tiny_from_small", tmp_path) == tmp_path / "tiny_from_small.yaml"
    with pytest.raises(UsageError, match="exists already"):
        copy_space("tiny_from_small", tmp_path / "mine.yaml")
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        copy_space("tiny_from_small", tmp_path / "nowhere" / "mine.yaml")


def test_paths_in_a_file_count_from_its_folder(shipped: Path, tmp_path: Path) -> None:
    path = copy_space("tiny_from_small", tmp_path / "mine.yaml")
    assert getattr(load_file(str(path)).task, "path") == tmp_path / "data.npz"  # noqa: B009 - a union


def test_paths_in_a_shipped_space_count_from_here_as_after_copying_it(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = load_file("tiny_from_small", ["search.trials=7"])
    assert getattr(study.task, "path") == tmp_path / "data.npz"  # noqa: B009 - a union
    assert study.search.trials == 7


def test_a_file_of_ones_own_wins_over_a_shipped_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_from_small").write_text(MINIMAL.replace("name: tiny", "name: own"))
    assert load_file("tiny_from_small").name == "own"


def test_a_folder_hides_no_shipped_space(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_from_small").mkdir()
    assert load_file("tiny_from_small").name == "tiny"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_file("shipped")


def test_a_missing_file_gets_the_nearest_one(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINIMAL)
    with pytest.raises(ConfigError, match=r"there is no such file -> did you mean .*mine\.yaml"):
        load_file(str(tmp_path / "mime.yaml"))
    with pytest.raises(ConfigError, match="did you mean 'tiny_from_small'"):
        load_file("tiny_from_smal")
