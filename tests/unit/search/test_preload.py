"""Where workers import ahead; what they import is in tests/integration/test_imports.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autockd.config.loading import load_study
from autockd.search.cluster import _keeps_every_core_busy

SPACE = Path(__file__).parents[3] / "search_spaces" / "resnet8_from_resnet20_digits.yaml"


@pytest.mark.parametrize(
    ("words", "has_gpu", "room", "expected"),
    [
        (["search.trials=4"], False, 4 << 30, True),
        (["search.trials=4"], False, None, True),
        (["search.trials=4"], False, 3 << 30, False),
        (["search.trials=3"], False, 4 << 30, False),
        (["search.trials=4"], True, 4 << 30, False),
        (["search.trials=4", "resources.parallel_trials=3"], False, 4 << 30, False),
        (["search.trials=4", "resources.parallel_trials=4"], False, 3 << 30, True),
        (["search.trials=4", "resources.cpus_per_trial=2"], False, 4 << 30, False),
        (["search.trials=4", "resources.address=auto"], False, 4 << 30, False),
    ],
)
def test_workers_import_ahead_only_where_each_gets_a_trial(
    words: list[str], has_gpu: bool, room: int | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.search.cluster.usable_cores", lambda: 4)
    monkeypatch.setattr("autockd.search.cluster.memory_for_trials", lambda: room)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert _keeps_every_core_busy(load_study(SPACE, words)) is expected
