"""The commands that look at what a study has left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autockd.cli.output import console, plain_data, say, show, write, write_json
from autockd.cli.text import printable
from autockd.errors import EnvironmentProblem, UsageError
from autockd.folders import LEDGER, studies_folder, study_argument

if TYPE_CHECKING:
    from autockd.export.evaluation import RuntimeName
    from autockd.study import Study
    from autockd.summary import StudySummary


def open_study(name: str, studies: Path | None) -> Study:
    """The study of this name, or in this folder.

    Raises:
        StudyError: there is none.
    """
    from autockd.study import Study

    return Study.open(name, studies)


def trial_number(text: str, folder: Path) -> int | None:
    """A trial's number; None for the best.

    Args:
        text: `best`, or a number.
        folder: the study's, which a remedy names.

    Raises:
        UsageError: it is neither `best` nor a number.
    """
    if text == "best":
        return None
    if not text.isdecimal():
        remedy = f"`autockd status {study_argument(folder)}` shows them"
        raise UsageError(f"--trial: {text!r} is neither `best` nor a trial's number -> {remedy}")
    return int(text)


def stop_study(name: str, studies: Path | None) -> None:
    """Ask a running study to stop, and wait for it; it may come to its end by itself before it hears of that.

    Raises:
        EnvironmentProblem: it does not.
    """
    from autockd.history import History

    study = open_study(name, studies)
    if not study.stop():
        raise EnvironmentProblem(f"{study.name}: does not stop; the request stands, or end its process yourself")
    if History(study.events()).is_finished:
        say(f"{study.name}: is finished; it had come to its end by itself")
    else:
        say(f"{study.name}: stopped; go on with: autockd resume {study_argument(study.folder)}")


def sync_study(name: str, studies: Path | None, *, as_json: bool) -> None:
    """Replay a study's ledger into MLflow; a study that runs does so itself."""
    from autockd.tracking.redaction import redact

    study = open_study(name, studies)
    found = study.sync(warn=say)
    if found.warning:
        say(f"warning: {redact(found.warning)}")
    if as_json:
        facts = {"study": study.name, "events": found.delivered, "run_id": found.run_id, "running": found.is_live}
        write_json(facts | {"registered": redact(found.registered)})
        return
    where = f"MLflow at {redact(study.mlflow_uri() or '')}"
    if found.is_live:
        say(f"{study.name}: runs now, and keeps {where} up to date itself")
    else:
        say(f"{study.name}: {where} has all of its {found.delivered} events")
    if found.registered:
        say(f"{study.name}: {redact(found.registered)}")


def show_studies(studies: Path | None, *, as_json: bool) -> None:
    """All studies, one line each."""
    from autockd.cli.tables import studies_table
    from autockd.study import list_studies
    from autockd.tracking.ledger import in_use

    folder = studies or studies_folder()
    running = {path.parent.name for path in folder.glob(f"*/{LEDGER}") if in_use(path)}  # asked before they are read
    summaries = list_studies(folder, complain=say)
    states = [_state(summary, is_running=summary.folder in running) for summary in summaries]
    if as_json:
        write_json([{**plain_data(summary), "state": state} for summary, state in zip(summaries, states, strict=True)])
    elif summaries:
        show(studies_table(summaries, states))
    else:
        say(f"no study in {folder}; start one with `autockd run`")


def show_outcome(summary: StudySummary) -> None:
    """Tables of what a study came to: its methods, its Pareto front, its models, and what may be said of them."""
    from autockd.cli.tables import arms_table, comparison_table, finalist_lines, front_table

    if any(row.arm for row in summary.trials):
        show(arms_table(summary))
    if summary.objectives:
        show(front_table(summary))
    if summary.evaluated or summary.finalists:
        show(comparison_table(summary))
        if lines := finalist_lines(summary):
            write(printable("\n".join([*lines, ""]), lines=True))


def show_study(name: str, studies: Path | None, *, as_json: bool) -> None:
    """One study: its trials, how it stands, and its result if it has one."""
    import time

    from autockd.cli.progress import budget_line, standing_line
    from autockd.cli.tables import summary_data, time_line, trials_table

    study = open_study(name, studies)
    is_running = study.is_running  # asked before the ledger is read, which then says whether it has ended since
    summary = study.status()
    if as_json:
        write_json(summary_data(summary) | {"state": _state(summary, is_running=is_running)})
        return
    width = console(sys.stdout).width
    show(trials_table(summary.trials, summary.metric, summary.best_trial, is_running=is_running, width=width))
    show_outcome(summary)
    state = _state(summary, is_running=is_running)
    more = f" before its end; go on with: autockd resume {study_argument(study.folder)}"
    say(f"{summary.study}: {state}{more if state == 'interrupted' else ''}")
    now = time.time() if is_running else None
    for line in (standing_line(summary), budget_line(summary, now), time_line(summary)):
        if line:
            say(line)
    if summary.bundle:
        say(f"bundle: {summary.bundle}")


def report_study(name: str, studies: Path | None, to: Path | None, *, as_json: bool) -> None:
    """Write a study's report, and say where it is and what it says."""
    from autockd.report.writing import PAGE, files_of

    folder, content = open_study(name, studies).report(to)
    if as_json:
        files = [str(path) for path in files_of(folder)]
        write_json({"folder": str(folder), "files": files, "report": plain_data(content)})
        return
    write(str(folder / PAGE))
    say("\n".join(content.summary))


def _state(summary: StudySummary, *, is_running: bool) -> str:
    """`finished`, `running`, or `interrupted` before its end."""
    if summary.finished:
        return "finished"
    return "running" if is_running else "interrupted"


def show_evaluation(bundle: Path, data: str | None, runtime: RuntimeName, *, as_json: bool) -> None:
    """A bundle's metric on the test split of its own data, or of another study's."""
    from autockd.cli.spaces import load_data
    from autockd.cli.tables import plain_table
    from autockd.study import evaluate
    from autockd.text import metric_text

    result = evaluate(bundle, load_data(data) if data else None, runtime=runtime)
    if data is None and result.recorded is None and runtime != "int8":
        say("note: the bundle has no test metric of its own: whoever chooses by this one has used the test split up")
    facts = result.model_dump(exclude_none=True)
    if as_json:
        write_json(facts)
        return
    rows = [
        (name, metric_text(fact, result.metric) if isinstance(fact, float) else fact) for name, fact in facts.items()
    ]
    show(plain_table({"": "left", "found": "left"}, rows))
