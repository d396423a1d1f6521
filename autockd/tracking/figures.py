"""Pictures of a study's run: what its plan does, and how its search went by trial.

Drawn without pyplot, whose state is global: threads may draw at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from autockd.records import Event, StudyStarted, TeacherReady, TrialFinished, TrialStarted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#2a78d6", "#eb6834", "#1baf7a", "#8a4fd0", "#c9a400", "#5f6b7a")
GREY = "#6b6b6b"
INK = "#222222"
_SHARES = {"hard_weight": "psi (hard_weight)", "smoothing": "phi (smoothing)"}
_PANELS = {"margin": "margin", "learning_rate": "learning_rate"}


def plan_figure(columns: Mapping[str, Sequence[float]], steps_per_epoch: int, title: str) -> Figure:
    """Phi, psi, margin and learning rate over a run, each value held until the next step.

    Args:
        columns: coefficients of a plan by name, a number for every training step; others than those four are left out.
        steps_per_epoch: training steps of one epoch, the unit of the horizontal axis.
        title: stands above.
    """
    from matplotlib.figure import Figure

    panels = [_SHARES, *({name: label} for name, label in _PANELS.items())]
    drawn = [panel for panel in panels if any(name in columns for name in panel)]
    figure = Figure(figsize=(7.5, 1.2 + 1.9 * max(1, len(drawn))), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(max(1, len(drawn)), 1, sharex=True, squeeze=False)[:, 0]
    for axis, panel in zip(axes, drawn, strict=False):
        _draw_columns(axis, {panel[name]: columns[name] for name in panel if name in columns}, steps_per_epoch)
    axes[-1].set_xlabel("epoch")
    return figure


def search_history_figure(events: Iterable[Event]) -> Figure:
    """Every trial's best validation metric by trial number, with the best so far and the teacher's.

    Args:
        events: a study's events, in order.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    history = list(events)
    study = next((event for event in history if isinstance(event, StudyStarted)), None)
    starts = {event.trial: event for event in history if isinstance(event, TrialStarted)}
    ends = [event for event in history if isinstance(event, TrialFinished) and event.trial in starts]
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    frame(axis)
    _draw_trials(axis, starts, ends)
    _draw_best_so_far(axis, ends, better_of(study))
    for event in history:
        if isinstance(event, TeacherReady):
            axis.axhline(event.teacher.metric, color=GREY, linestyle="--", linewidth=1, label="teacher")
    axis.set(xlabel="trial", ylabel=f"validation {study.metric}" if study else "validation", title="search history")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def better_of(study: StudyStarted | None) -> Callable[[float, float], float]:
    """What takes the better of two values of a study's metric."""
    return min if study is not None and study.direction == "minimize" else max


def has_value(end: TrialFinished) -> bool:
    """Whether a trial is complete with a number that can be drawn."""
    return end.state == "complete" and end.value is not None and math.isfinite(end.value)


def _draw_columns(axis: Any, columns: Mapping[str, Sequence[float]], steps_per_epoch: int) -> None:
    frame(axis)
    for color, (label, values) in zip(COLORS, columns.items(), strict=False):
        # Step t rules from t to t + 1, so the last value is drawn up to the end of the run.
        moments = [step / steps_per_epoch for step in range(len(values) + 1)]
        axis.step(moments, [*values, *values[-1:]], where="post", color=color, linewidth=1.8, label=label)
    if len(columns) > 1:
        axis.legend(fontsize=8, frameon=False)
    else:
        axis.set_ylabel(next(iter(columns)))


def _draw_trials(axis: Any, starts: Mapping[int, TrialStarted], ends: Sequence[TrialFinished]) -> None:
    methods = list(dict.fromkeys(start.method for start in starts.values()))
    for position, method in enumerate(methods):
        color = COLORS[position % len(COLORS)]
        mine = [end for end in ends if starts[end.trial].method == method and end.value is not None]
        for state, face in (("complete", color), ("pruned", "none")):
            chosen = [end for end in mine if end.state == state]
            label = method if state == "complete" else f"{method}, stopped early"
            if chosen:
                x, y = [end.trial for end in chosen], [end.value for end in chosen]
                axis.scatter(x, y, s=34, facecolors=face, edgecolors=color, linewidths=1.4, label=label, zorder=3)
    failed = [end.trial for end in ends if end.state == "failed"]
    if failed:
        at_the_bottom = axis.get_xaxis_transform()
        axis.scatter(
            failed, [0.02] * len(failed), marker="x", color="#c62828", label="failed", transform=at_the_bottom, zorder=3
        )


def _draw_best_so_far(axis: Any, ends: Sequence[TrialFinished], better: Callable[[float, float], float]) -> None:
    complete = sorted((end.trial, end.value or 0.0) for end in ends if has_value(end))
    if not complete:
        return
    best = list(accumulate((value for _, value in complete), better))
    trials = [trial for trial, _ in complete]
    axis.step(trials, best, where="post", color=INK, linewidth=1.4, label="best so far", zorder=2)


def frame(axis: Any) -> None:
    """Grid and borders as all pictures have them."""
    axis.grid(visible=True, color="#e4e4e4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
