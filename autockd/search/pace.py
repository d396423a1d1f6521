"""How long epochs take, by what they are epochs of: what one may take is not known from those of another student."""

from __future__ import annotations

from autockd.config.trial import TrialConfig
from autockd.records import EpochRecord


class Pace:
    """The longest epoch so far of each student and batch size."""

    def __init__(self) -> None:
        self._longest: dict[tuple[str, int], float] = {}

    def note(self, config: TrialConfig, record: EpochRecord) -> None:
        """An epoch of such a trial is over."""
        seconds = record.train_seconds + record.evaluate_seconds
        self._longest[_kind(config)] = max(seconds, self.longest(config) or 0.0)

    def longest(self, config: TrialConfig) -> float | None:
        """Seconds of the longest epoch of such a trial; None before the first."""
        return self._longest.get(_kind(config))


def _kind(config: TrialConfig) -> tuple[str, int]:
    return config.student.model_dump_json(), config.training.batch_size
