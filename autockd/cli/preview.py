"""A study's plan on a terminal: a table of a few steps, a curve of each coefficient, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from autockd.cli.tables import plain_table
from autockd.errors import EnvironmentProblem, UsageError, reason_of
from autockd.text import spread

if TYPE_CHECKING:
    from autockd.report.preview import Preview

SYMBOLS = {"smoothing": "phi", "hard_weight": "psi"}
"""The paper's letters for columns of a plan."""

_FIRST = ("smoothing", "hard_weight", "margin", "learning_rate")
_ROWS = 12
_WIDTH = 60
_BLOCKS = "▁▂▃▄▅▆▇█"


def plan_table(preview: Preview) -> Table:
    """About a dozen steps of the plan, the first and the last among them."""
    names = in_order(preview.columns)
    headings = {"epoch": "right", "of the run": "right"} | {heading(name): "right" for name in names}
    rows = [
        (
            preview.epoch[step],
            f"{preview.progress[step]:.0%}",
            *(f"{preview.columns[name][step]:.4g}" for name in names),
        )
        for step in spread(len(preview.epoch), _ROWS)
    ]
    return plain_table(headings, rows, f"{preview.method}, {preview.epochs} epochs")


def plan_curves(columns: Mapping[str, Sequence[float]]) -> Table:
    """A line of blocks for each coefficient, between its least and its greatest value."""
    headings = {"": "left", "from": "right", "over the run": "left", "to": "right"}
    rows = []
    for name in in_order(columns):
        values = columns[name]
        rows.append((heading(name), f"{values[0]:.4g}", curve(values, _WIDTH), f"{values[-1]:.4g}"))
    return plain_table(headings, rows)


def in_order(columns: Mapping[str, Sequence[float]]) -> list[str]:
    """Names of the columns: phi, psi, margin and learning rate first."""
    return [*(name for name in _FIRST if name in columns), *(name for name in columns if name not in _FIRST)]


def heading(name: str) -> str:
    """A column's name, after the paper's letter where there is one."""
    return f"{SYMBOLS[name]} ({name})" if name in SYMBOLS else name


def curve(values: Sequence[float], width: int) -> str:
    """Numbers as blocks of eight heights, at most `width` of them; a constant is a line in the middle."""
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[3] * min(width, len(values))
    picked = [values[index] for index in spread(len(values), width)]
    return "".join(_BLOCKS[round((value - low) / (high - low) * (len(_BLOCKS) - 1))] for value in picked)


def save_plot(preview: Preview, path: Path) -> None:
    """Draw the plan into a PNG file.

    Raises:
        UsageError: the file's name does not end in .png.
        EnvironmentProblem: the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot: {path} does not end in .png -> name a .png file")
    from autockd.tracking.figures import plain_style, plan_figure

    try:
        with plain_style():
            steps_per_epoch = len(preview.epoch) / preview.epochs
            plan_figure(preview.columns, steps_per_epoch, f"{preview.method}, {preview.epochs} epochs").savefig(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"--plot: cannot write {path}: {reason_of(error).lower()} -> name a writable folder"
        ) from error
