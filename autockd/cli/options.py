"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A study file (YAML), or the name of a shipped one (see `autockd ls`).")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Fields to change, by dotted name, such as search.trials=12 or teacher.model.depth=20.",
        show_default=False,
    ),
]
SpaceName = Annotated[str, typer.Argument(metavar="NAME", help="A shipped search space (see `autockd ls`).")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name, or its folder.")]
MaybeStudyName = Annotated[
    str | None, typer.Argument(metavar="[STUDY]", help="A study's name, or its folder.", show_default=False)
]
StudiesFolder = Annotated[
    Path | None,
    typer.Option(
        "--studies",
        metavar="DIR",
        envvar="AUTOCKD_STUDIES",
        help="Folder of all studies; `studies` in the current folder if not given.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
