"""What Tune's reports do to a search, beyond what a study's book makes of them."""

from __future__ import annotations

import pytest

from autockd.errors import EnvironmentProblem
from autockd.records import TrialReport
from autockd.search.finalists import FinalistBook
from autockd.search.searcher import StudyScheduler
from autockd.search.trainable import REPORT


def test_a_machine_on_which_no_trial_can_go_on_ends_the_search() -> None:
    scheduler = StudyScheduler(FinalistBook([], (), lambda event: None, parallel=1))
    report = TrialReport(trial=0, problem="cannot write best.safetensors (No space left on device)")
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        scheduler.on_trial_result(None, None, {REPORT: report.model_dump_json()})
