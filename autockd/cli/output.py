"""The two streams: data goes to stdout, messages to stderr."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from autockd.cli.text import printable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console, RenderableType

_WIDE = 160
"""Columns of a table that goes into a pipe or a file."""


def say(message: str) -> None:
    """A message for the user, on stderr."""
    typer.echo(printable(message, lines=True), err=True)


def write(text: str) -> None:
    """A line, or lines, of data."""
    typer.echo(text)


def write_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def plain_data(record: BaseModel) -> Any:
    """A record as JSON has it: a NaN, which JSON lacks, is the text `NaN`, as in a ledger."""
    return json.loads(record.model_dump_json())


def show(renderable: RenderableType) -> None:
    """A table on stdout, in colour if that is a terminal."""
    console(sys.stdout).print(renderable)


def console(stream: Any) -> Console:
    """A rich console on a stream; wide where nobody looks at a screen."""
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else _WIDE, markup=False, highlight=False, emoji=False)


def tolerate_encodings() -> None:
    """Print a question mark for what a terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
