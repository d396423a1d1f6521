"""`autockd run` and `resume`: the study with its live view, and what is printed when it is done."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autockd.cli.interrupts import ending_at_second_interrupt
from autockd.cli.looking import show_outcome
from autockd.cli.output import console, say, write, write_json
from autockd.cli.spaces import load_file
from autockd.cli.validating import check_named
from autockd.config.loading import with_absolute_paths
from autockd.config.tasks import is_on_hub
from autockd.folders import CONFIG, REPORT, studies_folder, study_argument
from autockd.records import Event, Noted
from autockd.summary import StudySummary
from autockd.text import metric_text

if TYPE_CHECKING:
    from autockd.config import StudyConfig
    from autockd.config.loading import Change
    from autockd.study import Study


def run_file(
    file: str,
    overrides: Sequence[str],
    *,
    studies: Path | None,
    smoke: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    change: Change | None = None,
) -> None:
    """Run the study that FILE names, or one that `change` makes of it, or say what it would do; print the result."""
    config = load_file(file, overrides, smoke=smoke, change=change)
    check_named(config, file, smoke=smoke)
    folder = (studies or studies_folder()).absolute()
    if dry_run:
        _show_dry_run(config, folder, as_json=as_json)
        return
    from autockd.study import Study

    study = Study.create(config, folder)
    summary = watch_study(study, quiet=quiet)
    show_result(summary, study, as_json=as_json)


def _show_dry_run(config: StudyConfig, studies: Path, *, as_json: bool) -> None:
    """Load the data, build the models, compile the first plans, and print what would run."""
    from autockd.namesakes import about_namesake, has_begun
    from autockd.study import check

    folder = studies / config.name
    found = check(config)
    taken = f": {about_namesake(with_absolute_paths(config, Path.cwd()), folder)}" if has_begun(folder) else ""
    lines = [*found, f"results would go to {folder}{taken}"]
    if as_json:
        write_json({"study": config.name, "trials": config.asked, "checks": lines})
    else:
        write("\n".join(lines))
    say("dry run: nothing was started")


def resume_study(name: str, overrides: Sequence[str], *, studies: Path | None, as_json: bool, quiet: bool) -> None:
    """Go on with a study, and print the result."""
    from autockd.study import Study

    study = Study.open(name, studies, overrides)
    summary = watch_study(study, quiet=quiet, resume=True)
    show_result(summary, study, as_json=as_json)


def watch_study(study: Study, *, quiet: bool, resume: bool = False) -> StudySummary:
    """Run a study to its end, shown on stderr; with `quiet`, only warnings are."""
    go = study.resume if resume else study.run
    with contextlib.redirect_stdout(sys.stderr), ending_at_second_interrupt():  # stdout is for our data alone
        return go(_say_warnings) if quiet else _watch_live(study, go)


def _watch_live(study: Study, go: Callable[[Callable[[Event], None]], StudySummary]) -> StudySummary:
    from autockd.cli.live import LiveView

    say(f"study folder: {study.folder}")
    _say_mlflow(study)
    with LiveView(console(sys.stderr), study.events()) as view:
        summary = go(view)
    _say_mlflow(study)
    return summary


def _say_warnings(event: Event) -> None:
    if isinstance(event, Noted) and event.kind == "warning":
        say(f"warning: {event.text}")


def show_result(summary: StudySummary, study: Study, *, as_json: bool) -> None:
    """The final table, the bundle's path, and the commands to look on; or all of the summary, as JSON."""
    from autockd.cli.tables import summary_data
    from autockd.report.writing import PAGE

    if as_json:
        write_json(summary_data(summary))
        return
    show_outcome(summary)
    if (best := summary.best) and not summary.evaluated:
        say(f"best: {metric_text(best.value, summary.metric)} (trial {best.trial}); no final evaluation")
    bundle = bundle_path(summary, study.folder)
    if bundle:
        write(f"bundle: {bundle}")
    if (page := study.folder / REPORT / PAGE).exists():
        write(f"report: {page}")
    say("\n".join(["", "next:", *(f"  {command}" for command in next_commands(study, bundle))]))


def next_commands(study: Study, bundle: Path | None) -> list[str]:
    """Commands that look at a finished study, ready to be pasted into a shell."""
    name = study_argument(study.folder)
    commands = [f"autockd status {name}"]
    if study.mlflow_uri() is not None:
        commands.insert(0, f"autockd ui {name}")
    if bundle is not None:
        named = f" --data {shlex.quote(str(study.folder / CONFIG))}" if is_on_hub(study.config.task) else ""
        commands.append(f"autockd evaluate {shlex.quote(str(bundle))}{named}")
    return commands


def bundle_path(summary: StudySummary, folder: Path) -> Path | None:
    """Where the bundle is; a relative path in the record counts from the study's folder."""
    return folder / summary.bundle if summary.bundle else None


def _say_mlflow(study: Study) -> None:
    from autockd.tracking.redaction import redact

    if (uri := study.mlflow_uri()) is not None:
        say(f"MLflow: {redact(uri)}, experiment {study.experiment}")
