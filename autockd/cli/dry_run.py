"""`autockd run --dry-run`: everything that comes before the first training step, and then nothing."""

from __future__ import annotations

from pathlib import Path

from autockd.cli.output import say, write, write_json
from autockd.config import StudyConfig


def show_dry_run(config: StudyConfig, studies: Path, *, as_json: bool) -> None:
    """Load the data, build the models, compile the first plans, and print what would run."""
    from autockd.study import check

    lines = [*check(config), f"results would go to {studies / config.name}"]
    if as_json:
        write_json({"study": config.name, "trials": config.asked, "checks": lines})
    else:
        write("\n".join(lines))
    say("dry run: nothing was started")
