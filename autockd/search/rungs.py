"""What trials had at their rungs, and the verdicts on them."""

from __future__ import annotations

import time

from autockd.config.schema import StoppingConfig
from autockd.facts import Direction
from autockd.records import RungReached, RungResult
from autockd.search.stopping import judge


class Rungs:
    """A trial is compared with those that are known to it: the trials up to `lag` before it that passed the rung.

    Args:
        config: the rule's settings.
        direction: `maximize` or `minimize`.
        lag: see `proposal_lag`; all trials that far back are over, so a verdict does not depend on who was faster.
    """

    def __init__(self, config: StoppingConfig, direction: Direction, lag: int) -> None:
        self._config = config
        self._direction = direction
        self._lag = lag
        self._values: dict[int, dict[int, float]] = {}

    def is_judged(self, trial: int, rung: int) -> bool:
        """Whether there is a verdict on a trial at a rung; it stands."""
        return rung in self._values.get(trial, {})

    def judge(self, trial: int, result: RungResult) -> RungReached:
        """The verdict on a trial; `note` makes it count."""
        known = range(trial - self._lag + 1)
        peers = [
            values[result.rung] for number, values in self._values.items() if number in known and result.rung in values
        ]
        verdict = judge(result.value, peers, self._config, self._direction)
        reason = ""
        if verdict.stopped:
            reason = (
                f"rung {result.rung}, at epoch {result.epochs}: {result.value:.4g}, where the best "
                f"1/{self._config.reduction_factor} of {len(peers)} trials have {verdict.threshold:.4g}"
            )
        return RungReached(
            time=time.time(),
            trial=trial,
            **result.model_dump(),
            peers=len(peers),
            threshold=verdict.threshold,
            stopped=verdict.stopped,
            reason=reason,
        )

    def note(self, reached: RungReached) -> None:
        """A verdict is recorded: later trials are compared with this one."""
        self._values.setdefault(reached.trial, {})[reached.rung] = reached.value
