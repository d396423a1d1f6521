from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from autockd import __version__
from autockd.folders import STUDIES_ENV, study_argument
from autockd.provenance import git_commit, package_versions, provenance
from autockd.records import Provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "file").write_text("one")
    git(folder, "add", "file")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_the_commit_that_is_checked_out(repository: Path) -> None:
    assert git_commit(repository) == git(repository, "rev-parse", "HEAD")
    (repository / "inner").mkdir()
    assert git_commit(repository / "inner") == git_commit(repository)


def test_changed_files_make_it_dirty_and_new_ones_do_not(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    (repository / "results.txt").write_text("not tracked")
    assert git_commit(repository) == head
    (repository / "file").write_text("two")
    assert git_commit(repository) == f"{head}+dirty"


def test_none_where_there_is_no_commit(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    assert git_commit(outside) is None
    assert git_commit(tmp_path / "missing") is None
    git(outside, "init", "--quiet")
    assert git_commit(outside) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(repository) is None


def test_it_says_where_and_with_what(repository: Path) -> None:
    found = provenance(repository)
    assert (found.autockd, found.python, found.cpus) == (__version__, platform.python_version(), os.cpu_count())
    assert len(found.gpus) == torch.cuda.device_count()
    assert found.git_commit == git(repository, "rev-parse", "HEAD")
    assert found.host
    assert found.platform
    assert Provenance.model_validate_json(found.model_dump_json()) == found


def test_versions_are_those_that_are_installed() -> None:
    versions = package_versions()
    assert {"torch", "ray", "optuna", "mlflow", "numpy"} <= versions.keys()
    assert all(metadata.version(name) == version for name, version in versions.items())


def test_there_is_no_commit_where_the_current_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STUDIES_ENV, raising=False)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert provenance().git_commit is None
    assert study_argument(tmp_path / "s") == str(tmp_path / "s")
