"""What nodes are asked before a study; here they are this process, with a folder each."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from autockd import __version__
from autockd.errors import EnvironmentProblem
from autockd.folders import CACHE_ENV
from autockd.search.nodes import Node, View, check_caches, check_view, leave_mark, look, take_mark, why_not

ADA, BOB = Node("a1", "ada", "10.0.0.1", {"CPU": 1.0}), Node("b2", "bob", "10.0.0.2", {"CPU": 1.0})


def test_a_node_says_what_it_sees(tmp_path: Path, cache: Path) -> None:
    mark = tmp_path / "mark"
    assert look(ADA, mark) == View(__version__, sees_study=False, cache=cache)
    mark.touch()
    assert look(ADA, mark).sees_study


def test_a_node_without_the_studys_folder_is_refused(tmp_path: Path) -> None:
    check_view(ADA, View(__version__, sees_study=True, cache=tmp_path), tmp_path)
    with pytest.raises(EnvironmentProblem, match=rf"ada \(10\.0\.0\.1\) does not see {tmp_path}; .* --studies"):
        check_view(ADA, View(__version__, sees_study=False, cache=tmp_path), tmp_path)


def test_a_node_with_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=rf"ada .* has autockd 0\.0\.7, and this is {__version__}"):
        check_view(ADA, View("0.0.7", sees_study=True, cache=tmp_path), tmp_path)


@pytest.mark.parametrize("is_shared", [False, True])
def test_machines_that_share_a_cache_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    caches = tmp_path / "a", tmp_path / ("a" if is_shared else "b")
    found = []
    for step in (leave_mark, take_mark):
        for node, cache in zip((ADA, BOB), caches, strict=True):
            monkeypatch.setenv(CACHE_ENV, str(cache))
            found.append(step(node, "mark"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    views = [View(__version__, sees_study=True, cache=cache) for cache in caches]
    if not is_shared:
        check_caches([ADA, BOB], views, found[2:])
        return
    with pytest.raises(EnvironmentProblem, match=r"ada .* shares its cache .*/a with bob; .* set AUTOCKD_CACHE"):
        check_caches([ADA, BOB], views, found[2:])


def test_what_keeps_a_node_from_answering_is_told_with_its_remedy() -> None:
    class Raised(RuntimeError):
        """As Ray wraps what a node raised."""

        cause = PermissionError(errno.EACCES, "Permission denied", "/var/cache/autockd")

    said = why_not(Raised("a\nlong\ntrace"))
    assert said.startswith("/var/cache/autockd: Permission denied; if its cache is meant, set AUTOCKD_CACHE")
    assert why_not(ImportError("trace\nNo module named 'autockd'")) == (
        "No module named 'autockd'; is autockd installed there?"
    )
    assert why_not(RuntimeError()) == "RuntimeError; is autockd installed there?"
