"""A study's results and schedules as tables."""

from autockd.report.tables import StudySummary, TrialRow, best_trial, summarise, summary_of

__all__ = ["StudySummary", "TrialRow", "best_trial", "summarise", "summary_of"]
