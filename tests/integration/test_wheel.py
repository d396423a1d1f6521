"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from autockd import __version__

ROOT = Path(__file__).parents[2]
SPACE = "resnet8_from_resnet20_digits"


def succeed(*command: str | Path, cwd: Path) -> str:
    """Run a command without what this process tells Python about paths; its stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout with the hatchling that is installed here; needs no network."""
    folder = tmp_path_factory.mktemp("dist")
    succeed(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel alone, and finds its dependencies in this one.

    A .pth file's lines are not searched for further .pth files, so the checkout, which is installed here by one, stays
    out of it.
    """
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "dependencies.pth").write_text("\n".join(sorted(here)))
    install = ("-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    succeed(sys.executable, *install, cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_the_package_its_search_spaces_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "autockd").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    package = {path.relative_to(ROOT).as_posix() for path in files}
    spaces = {f"autockd/search_spaces/{path.name}" for path in (ROOT / "search_spaces").glob("*.yaml")}
    assert {"autockd/py.typed", "autockd/__main__.py"} <= package
    assert f"autockd/search_spaces/{SPACE}.yaml" in spaces
    assert names == package | spaces


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    assert metadata(wheel)["Version"] == __version__
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"
    assert metadata(wheel)["Requires-Python"] == ">=3.11"
    archive, info = zipfile.ZipFile(wheel), f"autockd-{__version__}.dist-info"
    assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "autockd = autockd.cli.app:enter" in archive.read(f"{info}/entry_points.txt").decode()


def metadata(wheel: Path) -> Message:
    return email.message_from_bytes(zipfile.ZipFile(wheel).read(f"autockd-{__version__}.dist-info/METADATA"))


def test_the_installed_command_ships_the_search_spaces(installed: Path, tmp_path: Path) -> None:
    autockd = installed / "autockd"
    code = "import autockd, autockd.cli.spaces as s; print(autockd.__file__); print(s.spaces_folder())"
    for place in succeed(installed / "python", "-c", code, cwd=tmp_path).split():
        assert Path(place).is_relative_to(installed.parent)
    names = [line.split()[0] for line in succeed(autockd, "ls", cwd=tmp_path).splitlines()]
    assert names == sorted(path.stem for path in (ROOT / "search_spaces").glob("*.yaml"))
    source = (ROOT / "search_spaces" / f"{SPACE}.yaml").read_text(encoding="utf-8")
    assert succeed(autockd, "cat", SPACE, cwd=tmp_path) == source
    succeed(autockd, "cp", SPACE, "mine.yaml", cwd=tmp_path)
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == source
    for file in (SPACE, "mine.yaml"):
        assert f"{file} is valid: study digits" in succeed(autockd, "validate", file, cwd=tmp_path)


def test_the_installed_package_reads_data_and_builds_models(installed: Path, tmp_path: Path) -> None:
    found = succeed(installed / "autockd", "run", SPACE, "--dry-run", cwd=tmp_path)
    assert "student: 4,934 parameters" in found
    assert not list(tmp_path.iterdir())
