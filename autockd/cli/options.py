"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autockd.errors import UsageError
from autockd.folders import expanded


def shipped_names(incomplete: str) -> list[str]:
    """Names of shipped search spaces, for a shell that completes a word."""
    from autockd.cli.spaces import shipped_spaces

    return [space.name for space in shipped_spaces() if space.name.startswith(incomplete)]


def folder(text: str) -> Path:
    """A folder as it was named; `~` is the user's home."""
    return expanded(text)


def study_files(incomplete: str) -> list[str]:
    """Names of shipped search spaces, study files, and folders on the way to one, for a shell that completes a word."""
    parent, start = Path(incomplete).parent, "" if incomplete.endswith("/") else Path(incomplete).name
    parent = Path(incomplete) if incomplete.endswith("/") else parent
    found = sorted(path for path in parent.glob(f"{start}*") if path.is_dir() or path.suffix in (".yaml", ".yml"))
    return [*shipped_names(incomplete), *(f"{path}/" if path.is_dir() else str(path) for path in found)]


def study_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the studies in the folder that was named, for a shell that completes a word."""
    from autockd.folders import CONFIG, studies_folder

    studies = context.params.get("studies") or studies_folder()
    names = (path.parent.name for path in Path(studies).glob(f"*/{CONFIG}"))
    return sorted(name for name in names if name.startswith(incomplete))


File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A study file (YAML), or the name of a shipped one (see `autockd ls`).",
        autocompletion=study_files,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Fields to change, by dotted name, such as search.trials=12 or teacher.model.depth=20.",
        show_default=False,
    ),
]
SpaceName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A shipped search space (see `autockd ls`).", autocompletion=shipped_names),
]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study's name, or its folder.", autocompletion=study_names)
]
MaybeStudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]", help="A study's name, or its folder.", show_default=False, autocompletion=study_names
    ),
]
StudiesFolder = Annotated[
    Path | None,
    typer.Option(
        "--studies",
        parser=folder,
        metavar="DIR",
        envvar="AUTOCKD_STUDIES",
        help="Folder of all studies; `studies` in the current folder if not given.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")]
Trials = Annotated[
    int | None,
    typer.Option(
        "--trials", metavar="N", min=1, help="Trials in all, baselines included; the same as search.trials=N."
    ),
]
TrialsOfEach = Annotated[
    int | None,
    typer.Option("--trials", metavar="N", min=1, help="Trials of each method; the same as search.trials=N."),
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        metavar="LIST",
        help="Methods with commas between them, such as none,kd,kd-std,takd,dkd,dist,annealing,continuation; `-std` "
        "standardises logits. Those of the file's `compare:` if not given, else all that fit.",
        show_default=False,
    ),
]
Smoke = Annotated[
    bool,
    typer.Option("--smoke", help="Apply the file's `smoke` section: a short run to check that everything works."),
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Trace some steps of one trial: trials/NNNN/trace.json in Chrome's format.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Load the data, build the models, say what would run, and stop.")
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget", metavar="TIME", help="Wall time of the search: 90s, 30m, 2h; the same as search.time_budget."
    ),
]


def changed_by_options(overrides: list[str] | None, trials: int | None, time_budget: str | None) -> list[str]:
    """The overrides that were written out, and those that have an option of their own.

    Raises:
        UsageError: the time is no text, as where a shell's variable is not set: as a value of YAML that is no limit.
    """
    if time_budget is not None and not time_budget.strip():
        raise UsageError(
            "--time-budget: is empty -> name a time such as 30m or 2h, or leave the option out for no limit"
        )
    own = {"search.trials": trials, "search.time_budget": time_budget}
    return [*(overrides or ()), *(f"{field}={value}" for field, value in own.items() if value is not None)]
