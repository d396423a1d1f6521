"""A folder in which commands run, with the study that they run."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autockd.cli.app import main

STUDY = """\
# A ResNet-8 of width 2 on digits: too small to be good, quick enough for a test.
name: tiny
task: {source: digits, limit_train: 400}
teacher:
  model: {family: cifar_resnet, depth: 8, width: 4}
  training: {epochs: 1, batch_size: 128, learning_rate: 0.1}
student:
  model: {family: cifar_resnet, depth: 8, width: 2}
method: {name: continuation, smoothing_start: 2}
training: {epochs: 2, batch_size: 128}
search:
  trials: 3
  space:
    learning_rate: {type: float, low: 0.01, high: 0.3, log: true}
resources: {parallel_trials: 1}
"""


@dataclass(frozen=True)
class Place:
    """A folder with a study file, and the environment in which commands run there."""

    folder: Path
    environment: dict[str, str]

    def autockd(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "autockd", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same within this process, which has imported everything before: for one command more of a kind."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            code = main(words)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def done(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, for a command that must end well."""
        result = self.autockd(*words)
        assert result.returncode == 0, result.stderr
        return result

    def done_inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, for one that must end well and runs within this process."""
        result = self.inside(*words)
        assert result.returncode == 0, result.stderr
        return result


@contextlib.contextmanager
def without_ray() -> Iterator[None]:
    """Ray starts in no time, and is not there: for what goes wrong before anybody joins it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autockd.search.connection._connect", lambda address, preload: None)
        patch.setattr("autockd.search.connection._disconnect", lambda: None)
        patch.setattr("autockd.search.connection.start_first", lambda: None)
        yield
