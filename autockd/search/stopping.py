"""Early stopping that is fair to schedules: where trials are compared, and which of them go on.

Every schedule of a trial is a fraction of its own run, so a prefix of the run is a different thing for each trial. Both
rules compare at shares of a trial's own run, by the validation metric: `fraction` at shares of the run itself,
`ladder` after whole schedules that are compressed to such shares (successive halving over budgets; Li et al.,
"A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, with a run that starts over at each rung).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autockd.config.methods import AnnealingKD, ContinuationKD
from autockd.config.schema import StoppingConfig
from autockd.config.trial import TrialConfig
from autockd.facts import Direction


@dataclass(frozen=True)
class Verdict:
    """What became of a trial at a rung.

    Attributes:
        stopped: whether it ends here.
        threshold: what it had to reach to go on; None where there were too few peers to judge.
    """

    stopped: bool
    threshold: float | None


def rung_epochs(config: StoppingConfig, epochs: int) -> tuple[int, ...]:
    """Epochs after which a trial of `epochs` is compared: rising, and never its last one.

    Rungs that fall together in a short run are one rung: that at the largest of their shares.
    """
    if config.rule == "none":
        return ()
    shares = (config.reduction_factor**-power for power in range(config.rungs, 0, -1))
    rungs = {max(1, round(share * epochs)) for share in shares}
    return tuple(sorted(rung for rung in rungs if rung < epochs))


def judge(value: float, peers: Sequence[float], config: StoppingConfig, direction: Direction) -> Verdict:
    """Whether a trial goes on: it must reach the best 1/reduction_factor of its peers.

    Args:
        value: the trial's validation metric at the rung.
        peers: what other trials had there, whatever became of them.
        config: the rule's settings.
        direction: `maximize` or `minimize`.
    """
    if len(peers) < config.min_peers:
        return Verdict(stopped=False, threshold=None)
    share = 1 / config.reduction_factor
    maximize = direction == "maximize"
    threshold = float(np.quantile(peers, 1 - share if maximize else share))
    goes_on = value >= threshold if maximize else value <= threshold
    return Verdict(stopped=not goes_on, threshold=threshold)


def compressed(trial: TrialConfig, epochs: int) -> TrialConfig:
    """The whole of a trial's schedule in a run of fewer epochs: a rung of the ladder.

    Phi grows with every step there, and linearly where the run has a staircase: few epochs have no room for its steps.
    """
    method = trial.method
    if isinstance(method, AnnealingKD | ContinuationKD):
        shape = "linear" if method.smoothing_shape == "step" else method.smoothing_shape
        method = method.model_copy(update={"granularity": "step", "smoothing_shape": shape})
    training = trial.training.model_copy(update={"epochs": epochs})
    return trial.model_copy(update={"method": method, "training": training})
