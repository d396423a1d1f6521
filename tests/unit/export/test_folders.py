"""A staged folder appears whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autockd.errors import EnvironmentProblem, ExportError
from autockd.export.folders import staged
from autockd.export.manifest import write_manifest
from autockd.folders import LITTER


def _write(target: Path, text: str, *, force: bool = False) -> None:
    with staged(target, force=force) as stage:
        (stage / "README.md").write_text(text)
        write_manifest(stage)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fail_while_writing(target: Path, *, force: bool) -> None:
    with staged(target, force=force) as stage:
        (stage / "README.md").write_text("new")
        raise KeyError


def test_folder_and_its_parents_appear_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "b"
    with staged(target, force=False) as stage:
        (stage / "README.md").write_text("new")
        assert not target.exists()
    assert (target / "README.md").read_text() == "new"
    assert _names(target.parent) == ["b"]


@pytest.mark.parametrize("force", [False, True])
def test_failure_leaves_what_was_there(tmp_path: Path, force: bool) -> None:
    if force:
        _write(tmp_path / "b", "old")
    with pytest.raises(KeyError):
        _fail_while_writing(tmp_path / "b", force=force)
    assert _names(tmp_path) == ["b"] * force
    assert [path.read_text() for path in tmp_path.rglob("README.md")] == ["old"] * force


def test_force_replaces_a_bundle_and_removes_the_old_one(tmp_path: Path) -> None:
    _write(tmp_path / "b", "old")
    with pytest.raises(ExportError, match=r"exists already -> name another .*--to DIR.* to=.*--force.* force=True"):
        _write(tmp_path / "b", "new")
    _write(tmp_path / "b", "new", force=True)
    assert (tmp_path / "b" / "README.md").read_text() == "new"
    assert _names(tmp_path) == ["b"]


@pytest.mark.parametrize("kind", ["file", "foreign folder", "bundle with notes", "link", "dangling link"])
def test_force_replaces_nothing_but_a_bundle(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "b"
    if kind == "file":
        target.write_text("mine")
    elif kind == "foreign folder":
        target.mkdir()
        (target / "thesis.md").write_text("mine")
    elif kind == "bundle with notes":
        _write(target, "old")
        (target / "notes.txt").write_text("mine")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    if kind == "link":
        _write(tmp_path / "elsewhere", "mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match="is not a bundle alone"):
        _write(target, "new", force=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", sorted(LITTER))
def test_force_replaces_a_bundle_that_a_file_manager_looked_into(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "b", "old")
    (tmp_path / "b" / name).write_text("icons")
    _write(tmp_path / "b", "new", force=True)
    assert _names(tmp_path / "b") == ["README.md", "manifest.json"]
    _write(tmp_path / "b", "newer", force=True)
    (tmp_path / "b" / name).mkdir()
    with pytest.raises(ExportError, match="is not a bundle alone"):
        _write(tmp_path / "b", "new", force=True)


def test_unwritable_place_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written: Not a directory -> "):
        _write(tmp_path / "file" / "b", "new")


def test_killed_writer_leaves_no_folder_of_that_name(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, types; from pathlib import Path; import autockd\n"
        "package = types.ModuleType('autockd.export')  # without all that the package itself imports, such as torch\n"
        "package.__path__ = [str(Path(autockd.__file__).parent / 'export')]\n"
        "sys.modules['autockd.export'] = package\n"
        "from autockd.export.folders import staged\n"
        "assert 'torch' not in sys.modules\n"
        f"with staged(Path({str(tmp_path / 'b')!r}), force=False) as stage:\n"
        "    (stage / 'README.md').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "b").exists()
    assert len(list(tmp_path.glob(".b.*.partial"))) == 1, "it was killed while it wrote"
    _write(tmp_path / "b", "new")
    assert (tmp_path / "b" / "README.md").read_text() == "new"
