"""One nursery, one home and one count of kills for all tests of this folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from battered import Battered, Begin, Figures
from nursery import Nursery

from autockd.folders import CACHE_ENV

_FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    found = request.config.stash.setdefault(_FIGURES, Figures())
    began = time.monotonic()
    yield found
    found.seconds = time.monotonic() - began


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where studies are, with their files and the output of commands."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def nursery(home: Path, cache: Path) -> Iterator[Nursery]:
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as ray:
        found = Nursery(home, {"RAY_TMPDIR": ray, CACHE_ENV: str(cache), "OMP_NUM_THREADS": "1"})
        yield found
        found.close()


@pytest.fixture(scope="session")
def undisturbed(home: Path) -> Callable[..., tiny.Story]:
    """How the tiny study goes with some overrides if nothing happens."""

    def tell(*overrides: str) -> tiny.Story:
        return tiny.undisturbed(home / "undisturbed", *overrides)

    return tell


@pytest.fixture
def begin(nursery: Nursery, figures: Figures, home: Path, undisturbed: Callable[..., tiny.Story]) -> Iterator[Begin]:
    """Makes studies; what still runs of them ends with the test."""

    def make(name: str, *overrides: str, studies: Path = home / "studies") -> Battered:
        return Battered.create(nursery, figures, studies, name, *overrides)

    yield make
    nursery.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (figures := config.stash.get(_FIGURES, None)) is not None:
        terminalreporter.section("faults")
        terminalreporter.line(str(figures))
