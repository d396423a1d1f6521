"""Where and with what a study runs: versions, machine, git commit."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

from autockd import __version__
from autockd.processor import cpu_model
from autockd.records import Provenance

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "transformers", "numpy", "pydantic", "safetensors")


def provenance(folder: Path = Path()) -> Provenance:
    """What this process runs with; `folder` is where a git commit is looked for: the current one, which may be gone."""
    import torch

    gpus = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Provenance(
        autockd=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        host=socket.gethostname(),
        cpu=cpu_model(),
        cpus=os.cpu_count() or 1,
        gpus=gpus,
        versions=package_versions(),
        git_commit=git_commit(folder),
    )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that results depend on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(folder: Path) -> str | None:
    """The commit checked out at `folder`, with `+dirty` where files differ from it; None outside a repository."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return None
    return f"{head}+dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
