"""The search spaces that come with the program, and how FILE on the command line is read."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from autockd.errors import ConfigError, EnvironmentProblem, UsageError, reason_of

if TYPE_CHECKING:
    from autockd.config import StudyConfig
    from autockd.config.loading import Change
    from autockd.config.tasks import TaskConfig

_SUFFIX = ".yaml"


@dataclass(frozen=True)
class ShippedSpace:
    """A search space that comes with the program.

    Attributes:
        name: what `cat`, `cp`, `run` and others take.
        path: the file.
        summary: its first comment line.
    """

    name: str
    path: Path
    summary: str


def spaces_folder() -> Path:
    """Where they are: inside an installed package, or at the top of a checkout."""
    installed = Path(str(files("autockd") / "search_spaces"))
    return installed if installed.is_dir() else Path(__file__).parents[2] / "search_spaces"


def shipped_spaces() -> list[ShippedSpace]:
    """All of them, by name."""
    return [ShippedSpace(path.stem, path, _first_comment(path)) for path in sorted(spaces_folder().glob(f"*{_SUFFIX}"))]


def find_space(name: str) -> ShippedSpace:
    """The shipped search space of this name, with or without `.yaml`.

    Raises:
        UsageError: there is none.
    """
    spaces = {space.name: space for space in shipped_spaces()}
    space = spaces.get(name.removesuffix(_SUFFIX))
    if space is None:
        close = difflib.get_close_matches(name, spaces, n=1, cutoff=0.4)
        remedy = f"did you mean {close[0]!r}?" if close else "`autockd ls` shows the names"
        raise UsageError(f"NAME: no search space called {name!r} is shipped -> {remedy}")
    return space


def copy_space(name: str, to: Path) -> Path:
    """Copy a shipped search space to a file, or into a folder; returns the new file.

    Raises:
        UsageError: no such space, or something stands there already.
        EnvironmentProblem: it cannot be written.
    """
    space = find_space(name)
    target = to / space.path.name if to.is_dir() else to
    if target.exists():
        raise UsageError(f"PATH: {target} exists already -> name another file, or remove it first")
    try:
        shutil.copyfile(space.path, target)
    except OSError as error:
        raise EnvironmentProblem(
            f"PATH: cannot write {target}: {reason_of(error).lower()} -> name a writable folder"
        ) from error
    return target


def load_file(
    file: str, overrides: Sequence[str] = (), *, smoke: bool = False, change: Change | None = None
) -> StudyConfig:
    """The study that FILE names: a path, or else the name of a shipped search space.

    Relative paths in a shipped one count from the current folder, as they would after `autockd cp`.

    Raises:
        ConfigError: there is no such file, or it breaks rules.
    """
    from autockd.config import parse_study

    return parse_study(*_named(file), overrides, smoke=smoke, change=change)


def load_data(file: str) -> TaskConfig:
    """The data of the study that FILE names, as `load_file`; it may have a `task` alone."""
    from autockd.config.loading import parse_task

    return parse_task(*_named(file))


def _named(file: str) -> tuple[str, str, Path]:
    """The text that FILE names, what messages call it, and the folder that its relative paths count from.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    from autockd.config.loading import read_file

    path, name = Path(file), file.removesuffix(_SUFFIX)
    shipped = None if path.is_file() else next((space for space in shipped_spaces() if space.name == name), None)
    if shipped is not None:
        return shipped.path.read_text(encoding="utf-8"), shipped.path.name, Path.cwd()
    if not path.exists():
        raise _no_such_file(path)
    return read_file(path), str(path), path.parent


def _no_such_file(path: Path) -> ConfigError:
    """Which file may have been meant."""
    beside = [str(path.with_name(other.name)) for other in path.parent.glob(f"*{_SUFFIX}")]
    close = difflib.get_close_matches(str(path), [*beside, *(space.name for space in shipped_spaces())], n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "name a YAML file, or a search space that `autockd ls` shows"
    return ConfigError.of(str(path), "there is no such file", remedy)


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8") as stream:
        first = stream.readline()
    return first.lstrip("# ").strip() if first.startswith("#") else ""
