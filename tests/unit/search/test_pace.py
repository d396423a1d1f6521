"""What is known of the length of epochs: of each student and batch size by itself."""

from __future__ import annotations

from collections.abc import Callable

from sample_records import epoch_record

from autockd.config.models import CifarResNet
from autockd.config.trial import TrialConfig
from autockd.search.pace import Pace


def test_a_large_student_is_not_measured_by_a_small_one(make_trial: Callable[..., TrialConfig]) -> None:
    small = make_trial("kd")
    large = small.model_copy(update={"student": CifarResNet(depth=110)})
    pace = Pace()
    for seconds in (3.0, 5.0, 4.0):
        pace.note(small, epoch_record(train_seconds=seconds))
    assert pace.longest(make_trial("continuation", learning_rate=0.3, seed=9)) == 6.0
    assert pace.longest(large) is None
    assert pace.longest(make_trial("kd", batch_size=8)) is None
