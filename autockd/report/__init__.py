"""What came of a study: its results as tables, and as a page."""

from autockd.report.studies import list_studies, summary_of

__all__ = ["list_studies", "summary_of"]
