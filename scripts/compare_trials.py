"""Compare the trials of one or more studies, the best first.

.venv/bin/python scripts/compare_trials.py digits digits-2 --top 10

A study is named by its name or its folder. All must share their metric. Trials without a value (failed or running)
come last. --json prints one list of objects instead of a table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autockd.errors import AutockdError, StudyError
from autockd.study import Study, studies_folder
from autockd.summary import StudySummary, TrialRow

COLUMNS = ("study", "trial", "role", "method", "state", "value", "params", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="STUDY", help="a study's name, or its folder")
    parser.add_argument("--studies", type=Path, default=studies_folder(), help="folder of all studies")
    parser.add_argument("--top", type=int, default=None, metavar="N", help="only the best N trials")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    options = parser.parse_args(arguments)
    if options.top is not None and options.top < 1:
        parser.error(f"--top must be at least 1, not {options.top}")
    try:
        rows = ranked([Study.open(name, options.studies).status() for name in options.names])[: options.top]
    except AutockdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.as_json:
        print(json.dumps([{name: row[name] for name in COLUMNS} for row in rows], indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(rows))
    return 0


def ranked(summaries: Sequence[StudySummary]) -> list[dict[str, object]]:
    """Every trial of every study, the best first; refuses to compare two metrics."""
    metrics = {(summary.metric, summary.direction) for summary in summaries}
    if len(metrics) > 1:
        names = ", ".join(f"{summary.study} has {summary.metric}" for summary in summaries)
        raise StudyError(f"STUDY: trials of different metrics cannot be compared: {names}; name studies that share one")
    sign = -1 if summaries[0].direction == "maximize" else 1

    def rank(pair: tuple[str, TrialRow]) -> tuple[bool, float]:
        value = pair[1].value
        return value is None, 0.0 if value is None else sign * value

    pairs = [(summary.study, row) for summary in summaries for row in summary.trials]
    return [{"study": study, **row.model_dump()} for study, row in sorted(pairs, key=rank)]


def _table(rows: Sequence[dict[str, object]]) -> Table:
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*(Text(_cell(row[name])) for name in COLUMNS))
    return table


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_cell(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
