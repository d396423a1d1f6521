"""Pictures of a search as a whole: its best against time, and what its dimensions matter. See also `figures`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autockd.folders import write_whole
from autockd.records import Event, StudyResumed, StudyStarted, TeacherReady, TrialFinished, TrialStarted
from autockd.tracking.figures import COLORS, GREY, INK, better_of, frame, has_value, search_history_figure
from autockd.tracking.importance import FEW_TRIALS, Importance, importance_of
from autockd.tracking.pareto import front_figure, front_json, front_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WARNING = "#b3541e"
_UNITS = ((3 * 3600.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def save_figures(events: Iterable[Event], folder: Path) -> list[Path]:
    """Draw all pictures of a search into a folder, whatever state it is in.

    Args:
        events: a study's events, in order.
        folder: where `search_history.png`, `best_by_time.png` and `importance.png` come to lie.

    A study with several objectives also gets `pareto.png`, and `pareto.json` with the numbers.

    Returns:
        Their paths.

    Raises:
        OSError: the folder cannot be written.
    """
    history = list(events)
    drawings: dict[str, Callable[[Iterable[Event]], Figure]] = {
        "search_history.png": search_history_figure,
        "best_by_time.png": best_by_time_figure,
        "importance.png": importance_figure,
    }
    for name, draw in drawings.items():
        draw(history).savefig(folder / name)
    return [*(folder / name for name in drawings), *_save_front(history, folder)]


def best_by_time_figure(events: Iterable[Event]) -> Figure:
    """The best validation metric so far against the time since the study began, stops of the study included.

    Args:
        events: a study's events, in order.
    """
    from matplotlib.figure import Figure

    history = list(events)
    study = next((event for event in history if isinstance(event, StudyStarted)), None)
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    frame(axis)
    began = history[0].time if history else 0.0
    length = max(0.0, history[-1].time - began) if history else 0.0  # clocks may be set back
    unit, name = next((seconds, name) for least, seconds, name in _UNITS if length >= least)
    _draw_stops(axis, history, began, unit)
    ends = [event for event in history if isinstance(event, TrialFinished) and has_value(event)]
    _draw_best(axis, ends, better_of(study), began, unit, length / unit)
    for event in history:
        if isinstance(event, TeacherReady):
            axis.axhline(event.teacher.metric, color=GREY, linestyle="--", linewidth=1, label="teacher")
    for color, (label, value) in zip(COLORS[1:], _baselines(history), strict=False):
        axis.axhline(value, color=color, linestyle=":", linewidth=1.4, label=f"baseline {label}")
    metric = f"validation {study.metric}" if study else "validation"
    axis.set(xlabel=f"{name} since the study began", ylabel=metric, title="best so far, by time")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def importance_figure(events: Iterable[Event]) -> Figure:
    """How much of the metric's variation each dimension explains, with a warning where that may be chance.

    Args:
        events: a study's events, in order.
    """
    from matplotlib.figure import Figure

    found = importance_of(events)
    figure = Figure(figsize=(7.5, 1.9 + 0.32 * max(2, len(found.shares))), layout="constrained")
    figure.suptitle("importance of the dimensions", fontsize=11)
    axis = figure.subplots()
    frame(axis)
    names, shares = list(found.shares)[::-1], list(found.shares.values())[::-1]
    bars = axis.barh(names, shares, color=COLORS[0], height=0.6)
    axis.bar_label(bars, labels=[f"{share:.2f}" for share in shares], padding=3, fontsize=8)
    axis.set(
        xlim=(0.0, 1.15 * max(shares, default=1.0) or 1.0),
        xlabel=f"share of the explained variation (fANOVA, {found.trials} complete trials)",
    )
    if not names:
        axis.set_yticks([])
    axis.set_title("\n".join(_remarks(found)), fontsize=8, color=_WARNING, loc="left")
    return figure


def _save_front(history: Sequence[Event], folder: Path) -> list[Path]:
    front = front_of(history)
    if not front.objectives:
        return []
    picture, data = folder / "pareto.png", folder / "pareto.json"
    front_figure(front).savefig(picture)
    write_whole(data, front_json(front))
    return [picture, data]


def _remarks(found: Importance) -> Iterator[str]:
    remarks = []
    if found.problem:
        remarks.append(f"nothing to show: {found.problem}")
    elif found.trials < FEW_TRIALS:
        remarks.append(f"only {found.trials} complete trials: below {FEW_TRIALS}, the order may be chance")
    if found.left_out:
        remarks.append("not judged, for some trials are without: " + ", ".join(found.left_out))
    for remark in remarks:
        yield from textwrap.wrap(remark.replace("$", r"\$"), 110)  # a dollar begins a formula


def _draw_best(
    axis: Any,
    ends: Sequence[TrialFinished],
    better: Callable[[float, float], float],
    began: float,
    unit: float,
    last: float,
) -> None:
    """A line that rises at every trial that is better than all before it, with a dot and the trial's number there."""
    best: list[tuple[float, float, int]] = []
    for end in ends:
        value = end.value or 0.0
        if not best or better(value, best[-1][1]) != best[-1][1]:
            best.append(((end.time - began) / unit, value, end.trial))
    if not best:
        return
    x, y = [moment for moment, _, _ in best], [value for _, value, _ in best]
    axis.step([*x, last], [*y, y[-1]], where="post", color=INK, linewidth=1.4, label="best so far")
    axis.plot(x, y, "o", color=COLORS[0], markersize=5, label="better than all before", zorder=3)
    for moment, value, trial in best:
        axis.annotate(str(trial), (moment, value), xytext=(4, -11), textcoords="offset points", fontsize=8, color=GREY)


def _draw_stops(axis: Any, history: Sequence[Event], began: float, unit: float) -> None:
    label: str | None = "the study stood still"
    for before, event in pairwise(history):
        if isinstance(event, StudyResumed):
            span = (before.time - began) / unit, (event.time - began) / unit
            axis.axvspan(*span, color="#eeeeee", linewidth=0, label=label, zorder=0)
            label = None


def _baselines(history: Sequence[Event]) -> Iterator[tuple[str, float]]:
    starts = {event.trial: event for event in history if isinstance(event, TrialStarted) and event.role == "baseline"}
    for event in history:
        if isinstance(event, TrialFinished) and event.trial in starts and has_value(event):
            yield starts[event.trial].method, event.value or 0.0
