"""A folder, or a file, takes another's place as a whole, or what was there is there again."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autockd import folders
from autockd.folders import CACHE_ENV, LITTER, cache_folder, entries_of, is_draft, whole_file, whole_folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "b"


def write(target: Path, text: str, *, replace: bool = True) -> None:
    with whole_folder(target, replace=replace) as stage:
        (stage / "text").write_text(text)


def kept(target: Path) -> list[str]:
    """The texts of all folders beside a target and of its own, and of nothing else."""
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return [path.read_text() for path in target.rglob("*")]


def test_a_folder_is_replaced_only_by_who_says_so(target: Path) -> None:
    write(target, "old", replace=False)
    with pytest.raises(OSError, match="not empty"):
        write(target, "new", replace=False)
    assert kept(target) == ["old"]
    write(target, "new")
    assert kept(target) == ["new"]


@pytest.mark.parametrize("kind", ["old", "partial"])
def test_a_move_that_fails_is_undone(target: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rename = Path.rename

    def refuse(self: Path, to: Path) -> Path:
        if f".{kind}" in (self.suffix, to.suffix) and self.suffix != ".old":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, to)

    write(target, "old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError):
            write(target, "new")
    assert kept(target) == ["old"]


def test_all_is_on_the_disk_before_the_old_folder_is_moved(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(target, "old")
    calls: list[str] = []
    rename = Path.rename

    def noted_rename(self: Path, to: Path) -> Path:
        calls.append(f"rename to {to.suffix or to.name}")
        return rename(self, to)

    with monkeypatch.context() as noted:
        noted.setattr(Path, "rename", noted_rename)
        noted.setattr(folders, "sync_to_disk", lambda path: calls.append(f"sync {path.suffix or path.name}"))
        write(target, "new")
    assert calls[:-1] == ["sync text", "sync .partial", "rename to .old", "rename to b"]
    assert calls[-1] == f"sync {target.parent.name}"


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write_text("old")
    found: list[tuple[str, str]] = []

    def note(path: Path) -> None:
        found.append((path.suffix or path.name, target.read_text()))

    with monkeypatch.context() as noted:
        noted.setattr(folders, "sync_to_disk", note)
        with whole_file(target) as draft:
            draft.write_text("new")
    assert found == [(draft.suffix, "old"), (target.parent.name, "new")]
    assert is_draft(draft.name)
    assert list(target.parent.iterdir()) == [target]


def test_a_file_has_the_permissions_that_any_new_file_gets(target: Path) -> None:
    """Whatever a library writes it with: others are to read weights as they read what lies beside them."""
    (target.parent / "plain").touch()
    with whole_file(target) as draft:
        draft.touch(mode=0o600)
    assert target.stat().st_mode == (target.parent / "plain").stat().st_mode


def test_a_file_whose_writer_fails_leaves_the_old_one_and_nothing_else(target: Path) -> None:
    def fail() -> None:
        with whole_file(target) as draft:
            draft.write_text("half of the n")
            raise ZeroDivisionError

    target.write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.read_text() for path in target.parent.iterdir()] == ["old"]


def test_a_file_is_there_although_its_folder_cannot_be_waited_for(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        if path == target.parent:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(folders, "sync_to_disk", refuse)
    with whole_file(target) as draft:
        draft.write_text("new")
    assert target.read_text() == "new"


def test_what_a_file_manager_leaves_is_no_entry_unless_it_is_no_plain_file(tmp_path: Path) -> None:
    first, second, third = sorted(LITTER)
    (tmp_path / first).write_text("icons")
    (tmp_path / second).mkdir()
    (tmp_path / third).symlink_to(tmp_path / first)
    assert {path.name for path in entries_of(tmp_path)} == {second, third}


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, for workers have a current folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for named, found in (
        ("here", "here"),
        (str(tmp_path / "there"), "there"),
        ("~/mine", "home/mine"),
        ("", "xdg/autockd"),
    ):
        monkeypatch.setenv(CACHE_ENV, named)
        assert cache_folder() == tmp_path / found
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "autockd"


def test_of_two_writers_at_once_each_has_its_turn(target: Path) -> None:
    """However often they come: neither fails, and neither leaves anything but its folder."""
    write(target, "first")

    def replace(text: str) -> None:
        for _ in range(100):
            write(target, text)

    with ThreadPoolExecutor(2) as writers:
        for done in [writers.submit(replace, text) for text in ("one", "two")]:
            done.result()
    assert kept(target) in (["one"], ["two"])
