"""One nursery, one home and one count of kills for all tests of this folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from long_run import IS_LONG

from autockd.folders import CACHE_ENV

if TYPE_CHECKING:  # pytest-xdist's own process reads this file too, and would import torch before its workers start
    import tiny
    from battered import Battered, Begin, Figures
    from nursery import Nursery

_FIGURES = pytest.StashKey["Figures"]()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    from battered import Figures

    found = request.config.stash.setdefault(_FIGURES, Figures())
    began = time.monotonic()
    yield found
    found.seconds = time.monotonic() - began


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Where studies are, with their files and the output of commands.

    In the long run the first study makes MLflow's database, and may be killed over it.
    """
    folder = tmp_path_factory.mktemp("faults")
    if not IS_LONG:
        request.getfixturevalue("with_database")(folder / "studies")
    return folder


@pytest.fixture(scope="session")
def nursery(home: Path, cache: Path) -> Iterator[Nursery]:
    from nursery import Nursery

    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as ray:
        found = Nursery(home, {"RAY_TMPDIR": ray, CACHE_ENV: str(cache), "OMP_NUM_THREADS": "1"})
        yield found
        found.close()


@pytest.fixture(scope="session")
def undisturbed(home: Path) -> Callable[..., tiny.Story]:
    """How the tiny study goes with some overrides if nothing happens."""
    import tiny

    def tell(*overrides: str) -> tiny.Story:
        return tiny.undisturbed(home / "undisturbed", *overrides)

    return tell


@pytest.fixture
def begin(nursery: Nursery, figures: Figures, home: Path, undisturbed: Callable[..., tiny.Story]) -> Iterator[Begin]:
    """Makes studies; what still runs of them ends with the test."""
    from battered import Battered

    def make(name: str, *overrides: str, studies: Path = home / "studies") -> Battered:
        return Battered.create(nursery, figures, studies, name, *overrides)

    yield make
    nursery.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (figures := config.stash.get(_FIGURES, None)) is not None:
        terminalreporter.section("faults")
        terminalreporter.line(str(figures))
