"""The command that exports a student, and what its ONNX models cost and give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autockd.cli.looking import open_study, trial_number
from autockd.cli.output import console, say, write

if TYPE_CHECKING:
    from rich.table import Table

    from autockd.export.figures import Figures


def export_student(
    name: str,
    trial: str,
    to: Path | None,
    *,
    pick: str | None,
    onnx: bool | None,
    int8: bool | None,
    force: bool,
    studies: Path | None,
) -> None:
    """Write a bundle: its path goes to stdout, what its models cost and give to stderr."""
    from autockd.export import load_bundle

    study = open_study(name, studies)
    number = trial_number(trial, study.folder)
    bundle = study.export(
        number, to, pick=pick, onnx=onnx, int8=int8, force=force, warn=lambda text: say(f"warning: {text}")
    )
    figures = load_bundle(bundle).figures
    if figures is not None:
        console(sys.stderr).print(figures_table(figures))
    write(str(bundle))


def figures_table(figures: Figures) -> Table:
    """Size, latency and, where they were measured, metrics of a bundle's ONNX models."""
    from autockd.cli.tables import plain_table
    from autockd.text import kilobytes, metric_text

    sizes = sorted({size for model in figures.models for size in model.latency})
    columns = {"model": "left", "size": "right"} | {f"ms for {size} (95 %)": "right" for size in sizes}
    is_judged = any(model.validation is not None for model in figures.models)
    if is_judged:
        columns |= {"validation": "right", "test": "right", "agrees": "right"}
    rows = []
    for model in figures.models:
        times = [f"{model.latency[size].median:.3f} ({model.latency[size].p95:.3f})" for size in sizes]
        agrees = "-" if model.agreement is None else f"{model.agreement:.1%}"
        metrics = [metric_text(model.validation, figures.metric), metric_text(model.test, figures.metric), agrees]
        rows.append([model.precision, kilobytes(model.bytes), *times, *(metrics if is_judged else [])])
    return plain_table(columns, rows, f"{figures.runtime}, {figures.threads} thread: {figures.metric}")
