"""The commands. What they do is done by the modules beside this one and by `autockd.study`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from autockd import __version__
from autockd.cli.exits import Settings, exit_code_of, leave
from autockd.cli.options import (
    DryRun,
    File,
    Json,
    MaybeStudyName,
    Methods,
    Overrides,
    Profile,
    Quiet,
    Smoke,
    SpaceName,
    StudiesFolder,
    StudyName,
    TimeBudget,
    Trials,
    TrialsOfEach,
    changed_by_options,
    folder,
)
from autockd.cli.output import plain_data, say, show, tolerate_encodings, write, write_json
from autockd.garbage import looking_seldom

app = typer.Typer(
    name="autockd",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@looking_seldom()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: in place of `sys.argv[1:]`.

    Returns:
        The exit code: 0 done, 1 our bug, 2 usage or configuration, 3 environment, 4 no trial succeeded, 5 export
        failed, 130 interrupted.
    """
    tolerate_encodings()
    settings = Settings()
    words = None if arguments is None else list(arguments)
    return exit_code_of(lambda: app(args=words, prog_name="autockd", obj=settings), settings)


def enter() -> NoReturn:
    """The `autockd` command: run the command line and end the process."""
    leave(main())


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"autockd {__version__}")
        raise typer.Exit


@app.callback(epilog="Start with:\n\nautockd ls\n\nautockd preview NAME\n\nautockd run NAME --smoke")
def _common(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Search, distil and export the best small student that a budget can buy."""
    settings = context.obj
    assert isinstance(settings, Settings), "main() makes the settings"
    settings.verbose = verbose


@app.command("ls", epilog="Example:\n\nautockd ls")
def list_spaces(as_json: Json = False) -> None:
    """List the search spaces that come with autockd."""
    from autockd.cli.spaces import shipped_spaces

    spaces = shipped_spaces()
    if as_json:
        write_json([{"name": space.name, "summary": space.summary, "path": str(space.path)} for space in spaces])
        return
    width = max((len(space.name) for space in spaces), default=0)
    for space in spaces:
        write(f"{space.name:<{width}}  {space.summary}")


@app.command("cat", epilog="Example:\n\nautockd cat NAME > mine.yaml")
def print_space(name: SpaceName, as_json: Json = False) -> None:
    """Print a shipped search space."""
    from autockd.cli.spaces import find_space
    from autockd.config.plain_yaml import read_plain

    text = find_space(name).path.read_text(encoding="utf-8")
    if as_json:
        write_json(read_plain(text, name))
    else:
        write(text.rstrip("\n"))


@app.command("cp", epilog="Example:\n\nautockd cp NAME mine.yaml")
def copy(
    name: SpaceName,
    to: Annotated[Path, typer.Argument(metavar="PATH", help="The new file, or a folder to put it into.")],
) -> None:
    """Copy a shipped search space, to start your own from."""
    from autockd.cli.spaces import copy_space

    target = copy_space(name, to)
    write(str(target))
    say(f"edit it, its `name` above all, then: autockd validate {target}")


@app.command(epilog="Example:\n\nautockd validate mine.yaml search.trials=12")
def validate(file: File, overrides: Overrides = None, as_json: Json = False) -> None:
    """Check a study file and report its mistakes together, without training anything."""
    from autockd.cli.validating import describe, validated

    study = validated(file, overrides or (), as_json=as_json)
    if as_json:
        write_json({"valid": True, "problems": [], "config": plain_data(study)})
    else:
        write(describe(file, study))


@app.command(epilog="Example:\n\nautockd preview mine.yaml training.epochs=30 --plot plan.png")
def preview(
    file: File,
    overrides: Overrides = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", parser=folder, metavar="PATH.png", help="Draw the schedules into this file too."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show phi, psi, margin and learning rate over the run, before any time is spent on it."""
    from autockd.cli.preview import plan_curves, plan_table, save_plot
    from autockd.cli.spaces import load_file
    from autockd.study import preview as preview_study

    plan = preview_study(load_file(file, overrides or ()))
    if plot is not None:
        save_plot(plan, plot)
        say(f"plot: {plot}")
    if as_json:
        write_json(plain_data(plan))
    else:
        show(plan_table(plan))
        show(plan_curves(plan.columns))
    for note in plan.notes:
        say(f"note: {note}")


@app.command(
    epilog="Examples:\n\nautockd run NAME --smoke\n\nautockd run mine.yaml search.trials=100\n\n"
    "autockd run mine.yaml --dry-run"
)
def run(
    file: File,
    overrides: Overrides = None,
    *,
    trials: Trials = None,
    time_budget: TimeBudget = None,
    smoke: Smoke = False,
    profile: Profile = False,
    dry_run: DryRun = False,
    studies: StudiesFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a study: teacher, search, final evaluation, export."""
    from autockd.cli.running import run_file

    changes = [*changed_by_options(overrides, trials, time_budget), *(["resources.profile=true"] if profile else [])]
    run_file(file, changes, studies=studies, smoke=smoke, dry_run=dry_run, as_json=as_json, quiet=quiet)


@app.command(
    epilog="Examples:\n\nautockd compare NAME --smoke\n\n"
    "autockd compare mine.yaml --methods none,kd,continuation --trials 8"
)
def compare(
    file: File,
    overrides: Overrides = None,
    *,
    methods: Methods = None,
    trials: TrialsOfEach = None,
    time_budget: TimeBudget = None,
    smoke: Smoke = False,
    dry_run: DryRun = False,
    studies: StudiesFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search several methods with the same number of trials each, under one teacher, and say how each did."""
    from autockd.cli.comparing import compared
    from autockd.cli.running import run_file

    changes = changed_by_options(overrides, trials, time_budget)
    change = compared(methods, changes)
    run_file(file, changes, change=change, studies=studies, smoke=smoke, dry_run=dry_run, as_json=as_json, quiet=quiet)


@app.command(epilog="Examples:\n\nautockd resume mine\n\nautockd resume mine --time-budget 4h")
def resume(
    study: StudyName,
    overrides: Overrides = None,
    *,
    trials: Trials = None,
    time_budget: TimeBudget = None,
    studies: StudiesFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a study that was stopped: finished trials stay, running ones go on from their checkpoints."""
    from autockd.cli.running import resume_study

    changes = changed_by_options(overrides, trials, time_budget)
    resume_study(study, changes, studies=studies, as_json=as_json, quiet=quiet)


@app.command(epilog="Example:\n\nautockd stop mine")
def stop(study: StudyName, studies: StudiesFolder = None) -> None:
    """Ask whoever runs a study to stop cleanly, and wait until it has; `autockd resume` goes on."""
    from autockd.cli.looking import stop_study

    stop_study(study, studies)


@app.command(epilog="Example:\n\nautockd sync mine")
def sync(study: StudyName, studies: StudiesFolder = None, as_json: Json = False) -> None:
    """Bring MLflow to where the study's ledger is; a second time changes nothing."""
    from autockd.cli.looking import sync_study

    sync_study(study, studies, as_json=as_json)


@app.command(epilog="Examples:\n\nautockd status\n\nautockd status mine\n\nautockd status mine --json")
def status(study: MaybeStudyName = None, studies: StudiesFolder = None, as_json: Json = False) -> None:
    """Show the trials and results of a study, or list all studies."""
    from autockd.cli.looking import show_studies, show_study

    if study is None:
        show_studies(studies, as_json=as_json)
    else:
        show_study(study, studies, as_json=as_json)


@app.command(
    epilog="Examples:\n\nautockd report mine\n\nautockd report mine --to for-ada\n\nautockd report mine --json"
)
def report(
    study: StudyName,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            parser=folder,
            metavar="DIR",
            help="Where to; `report` in the study's folder if not given.",
            show_default=False,
        ),
    ] = None,
    studies: StudiesFolder = None,
    as_json: Json = False,
) -> None:
    """Write a study's report: one HTML page, its figures as PNG, its numbers as JSON and CSV."""
    from autockd.cli.looking import report_study

    report_study(study, studies, to, as_json=as_json)


@app.command(
    epilog="Examples:\n\nautockd export mine --to shipped\n\nautockd export mine --trial 7 --to bundle-7 --int8\n\n"
    "autockd export mine --pick 'latency_ms <= 2' --to fast"
)
def export(
    study: StudyName,
    *,
    trial: Annotated[
        str,
        typer.Option(
            "--trial",
            metavar="best|N",
            help="`best` is what the study itself exports; N is the search's own student of that trial.",
        ),
    ] = "best",
    pick: Annotated[
        str | None,
        typer.Option(
            "--pick",
            metavar="'NAME <= NUMBER'",
            help="The best trial within limits on its costs or metric, several joined by `and`; "
            "the study's own export.pick if not given.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", parser=folder, metavar="DIR", help="Where to; `bundle` in the study's folder if not given."
        ),
    ] = None,
    onnx: Annotated[
        bool | None,
        typer.Option("--onnx/--no-onnx", help="Whether to write and check ONNX; the study's export.onnx decides."),
    ] = None,
    int8: Annotated[
        bool | None,
        typer.Option("--int8/--no-int8", help="Whether to write an int8 ONNX model; the study's export.int8 decides."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that stands there.")] = False,
    studies: StudiesFolder = None,
) -> None:
    """Write a trial's student as a bundle: weights, config, ONNX, int8 ONNX, model card, manifest."""
    from autockd.cli.shipping import export_student

    export_student(study, trial, to, pick=pick, onnx=onnx, int8=int8, force=force, studies=studies)


@app.command(epilog="Examples:\n\nautockd evaluate studies/mine/bundle\n\nautockd evaluate DIR --data other.yaml")
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE.yaml",
            help="Evaluate on the test split of this file's `task`, which needs no other section; of texts a "
            "`test_file` is used whole.",
        ),
    ] = None,
    runtime: Annotated[
        Literal["torch", "onnx", "int8"],
        typer.Option("--runtime", help="Compute with torch, or with onnxruntime in fp32 or int8."),
    ] = "torch",
    as_json: Json = False,
) -> None:
    """Verify a bundle and measure it on the test split again."""
    from autockd.cli.looking import show_evaluation

    show_evaluation(bundle, data, runtime, as_json=as_json)


@app.command(epilog="Examples:\n\nautockd ui\n\nautockd ui mine --port 8080 --no-browser")
def ui(
    study: MaybeStudyName = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on this machine.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open a browser.")] = True,
    studies: StudiesFolder = None,
) -> None:
    """Open MLflow on a study (the latest if none is named), on this machine alone; Ctrl-C ends it."""
    from autockd.cli.serving import serve

    serve(study, studies, port, browser=browser)


@app.command(epilog="Examples:\n\nautockd doctor\n\nautockd doctor --peak")
def doctor(
    peak: Annotated[
        bool, typer.Option("--peak", help="Also measure peak compute and memory bandwidth; run it on an idle machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check this machine: packages, devices, disk space, folders, MLflow."""
    from autockd.cli import doctor as machine

    machine.report(as_json=as_json, peak=peak)
