"""Golden loss curves: what a short run gives in float64, so that no change of a training step goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.records import PrecisionChoice
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.live_teacher import LiveTeacher
from autockd.training.trainer import Trainer

CURVES = {
    "kd": [1.08576, 0.787803, 0.584991, 0.611570],
    "continuation": [1.618355, 1.988217, 2.377476, 2.350976],
}
"""The mean loss of each epoch, as it was when this was written down; that of continuation rises with psi."""


@pytest.mark.parametrize("method", CURVES)
def test_a_short_run_has_the_losses_that_it_always_had(
    method: str,
    task: Task,
    fp32: PrecisionChoice,
    shared_live: LiveTeacher,
    make_trial: Callable[..., TrialConfig],
    tmp_path: Path,
) -> None:
    """Four epochs of three steps. The teacher answers in float32, which machines round differently."""
    bank = TeacherBank(tmp_path, BankIdentity.of("teacher", task), lambda: shared_live)
    trial = make_trial(method, batch_size=40, learning_rate=0.05)
    trainer = Trainer(trial, task, fp32, bank=bank, second_moment=shared_live.second_moment())
    trainer.model.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    losses = [record.loss for record in trainer.fit()]
    assert losses == pytest.approx(CURVES[method], rel=1e-4), f"the losses of {method} are {losses}"
