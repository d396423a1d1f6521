"""Run a study from its file: teacher, search, final evaluation, export.

.venv/bin/python scripts/run_study.py search_spaces/resnet8_from_resnet20_digits.yaml name=mine search.trials=12

The bundle's path goes to stdout; what happens meanwhile goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autockd.config import load_study
from autockd.errors import AutockdError
from autockd.records import Event, Noted, TrialFinished
from autockd.study import Study, studies_folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the study file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="fields to change, by dotted name")
    parser.add_argument("--smoke", action="store_true", help="apply the file's smoke section")
    parser.add_argument("--studies", type=Path, default=studies_folder(), help="folder of all studies")
    options = parser.parse_args(arguments)
    try:
        config = load_study(options.file, options.overrides, smoke=options.smoke)
        study = Study.create(config, options.studies)
        summary = study.run(_tell)
    except AutockdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(study.folder / (summary.bundle or ""))
    return 0


def _tell(event: Event) -> None:
    if isinstance(event, Noted):
        print(f"{event.kind}: {event.text}", file=sys.stderr)
    elif isinstance(event, TrialFinished):
        value = event.reason if event.value is None else f"{event.value:.4f}"
        print(f"trial {event.trial}: {event.state}, {value}, {event.seconds:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
