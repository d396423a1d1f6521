"""The trial as Ray Tune sees it: a thin shell around TrialWorker that is used again for the next trial."""

from __future__ import annotations

import platform
from typing import Any

from ray import tune

from autockd.config.trial import TrialConfig
from autockd.data.task import Task
from autockd.folders import LEDGER
from autockd.records import TrialReport
from autockd.search.nodes import unseen
from autockd.search.proposal import Proposal
from autockd.search.worker import TrialWorker, WorkerSetting

REPORT = "report"
"""Key of a Tune result that holds a TrialReport as JSON; Tune flattens anything else."""


class TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """One Tune iteration is one slice of training. Checkpoints are the worker's own, in the study's folder."""

    def setup(self, config: dict[str, Any], *, setting: WorkerSetting, task: Task) -> None:
        """Called once for each actor, with the first trial's configuration."""
        self._setting = setting
        self._task = task
        # A node that has joined since, or is back without its disks, was never asked.
        self._problem = "" if (setting.study / LEDGER).exists() else unseen(platform.node(), setting.study)
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process; that there is one says that the last one's end is recorded."""
        self._worker.forget()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a while and report."""
        problem = self._problem
        report = TrialReport(trial=self._worker.number, problem=problem) if problem else self._worker.advance()
        return {REPORT: report.model_dump_json(), "done": report.outcome is not None}

    def cleanup(self) -> None:
        """The search stops: what was trained since the last checkpoint is kept."""
        self._worker.save()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the worker keeps its own checkpoint, so that a trial goes on anywhere that sees the study."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: the worker looks for its own."""

    def _take(self, config: dict[str, Any]) -> None:
        trial = TrialConfig.model_validate(config["config"])
        self._worker = TrialWorker(self._setting, self._task, Proposal(**{**config, "config": trial}))


def read_report(result: dict[str, Any]) -> TrialReport | None:
    """The report in a Tune result."""
    text = result.get(REPORT)
    return TrialReport.model_validate_json(text) if text else None
