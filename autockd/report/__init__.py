"""A study's results and schedules as tables."""

from autockd.report.preview import Preview, preview
from autockd.report.tables import StudySummary, TrialRow, best_trial, summarise

__all__ = ["Preview", "StudySummary", "TrialRow", "best_trial", "preview", "summarise"]
