"""The Pareto front of a search for several objectives, from its events: as points, as a picture, and as data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autockd.records import Event, StudyStarted, TrialFinished, TrialStarted
from autockd.tracking.figures import COLORS, GREY, INK, frame, has_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 20
"""A cost whose largest value is so many times its smallest is drawn on a logarithmic axis."""


def nondominated(points: Mapping[int, Sequence[float]]) -> tuple[int, ...]:
    """The trials that no other dominates, those with the best first number first.

    One trial dominates another if it is nowhere worse and somewhere better. Of trials that are equal in all, the first
    stays.

    Args:
        points: numbers of each trial, all of which are the better the larger they are.
    """
    front = [one for one in points if not any(_beats(points, other, one) for other in points)]
    return tuple(sorted(front, key=lambda trial: (*(-number for number in points[trial]), trial)))


def _beats(points: Mapping[int, Sequence[float]], one: int, other: int) -> bool:
    if tuple(points[one]) == tuple(points[other]):
        return one < other
    return all(mine >= theirs for mine, theirs in zip(points[one], points[other], strict=True))


@dataclass(frozen=True)
class Front:
    """What a study's complete trials reached, and which of them no other beats in everything.

    Attributes:
        study: its name.
        metric: its metric.
        objectives: names of the costs; empty for a study that has none.
        starts: the trials that have a value and every cost, baselines among them.
        ends: what they came to.
        members: numbers of the trials on the front, the best metric first; baselines stand beside it.
    """

    study: str = ""
    metric: str = ""
    objectives: tuple[str, ...] = ()
    starts: Mapping[int, TrialStarted] | None = None
    ends: Mapping[int, TrialFinished] | None = None
    members: tuple[int, ...] = ()

    @property
    def points(self) -> list[tuple[TrialStarted, TrialFinished]]:
        """Every trial that has a place, in order."""
        starts, ends = self.starts or {}, self.ends or {}
        return [(starts[number], ends[number]) for number in sorted(starts)]


def front_of(events: Iterable[Event]) -> Front:
    """The front of a study's events, as far as they go."""
    history = list(events)
    study = next((event for event in history if isinstance(event, StudyStarted)), None)
    objectives = tuple(study.config.get("search", {}).get("objectives", ())) if study else ()
    if study is None or not objectives:
        return Front()
    ends = {
        event.trial: event
        for event in history
        if isinstance(event, TrialFinished) and has_value(event) and set(objectives) <= set(event.costs)
    }
    starts = {event.trial: event for event in history if isinstance(event, TrialStarted) and event.trial in ends}
    sign = 1 if study.direction == "maximize" else -1
    points = {
        number: (sign * (ends[number].value or 0.0), *(-ends[number].costs[name] for name in objectives))
        for number, start in starts.items()
        if start.role != "baseline"
    }
    return Front(study.study, study.metric, objectives, starts, ends, nondominated(points))


def front_json(front: Front) -> str:
    """The front and what stands behind it, as a JSON document."""
    data = {
        "study": front.study,
        "metric": front.metric,
        "objectives": front.objectives,
        "front": [_point(front, number) for number in front.members],
        "others": [_point(front, start.trial) for start, _ in front.points if start.trial not in front.members],
    }
    return json.dumps(data, indent=2) + "\n"


def front_figure(front: Front) -> Figure:
    """The metric against each cost: trials, baselines, and the front, whose trials have their numbers."""
    from matplotlib.figure import Figure

    count = max(1, len(front.objectives))
    figure = Figure(figsize=(5.2 * count + 1.6, 4.4), layout="constrained")
    figure.suptitle("Pareto front", fontsize=11)
    axes = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, front.objectives, strict=False):
        frame(axis)
        _draw_points(axis, front, name)
        _draw_front(axis, front, name)
        axis.set_xlabel(name)
    axes[0].set_ylabel(f"validation {front.metric}")
    if axes[-1].get_legend_handles_labels()[0]:
        axes[-1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _point(front: Front, number: int) -> dict[str, Any]:
    assert front.starts is not None, "a trial with a place has a start"
    assert front.ends is not None, "and an end"
    start, end = front.starts[number], front.ends[number]
    return {
        "trial": number,
        "role": start.role,
        "method": start.method,
        "value": end.value,
        "costs": {name: end.costs[name] for name in front.objectives},
        "params": start.params,
        "weights": end.weights,
    }


def _draw_points(axis: Any, front: Front, name: str) -> None:
    groups = {"trials": ("sampled", "default", "enqueued"), "baselines": ("baseline",)}
    for (label, roles), color, marker in zip(groups.items(), (COLORS[0], GREY), ("o", "D"), strict=True):
        chosen = [end for start, end in front.points if start.role in roles]
        if chosen:
            x, y = [end.costs[name] for end in chosen], [end.value for end in chosen]
            axis.scatter(x, y, s=26, color=color, marker=marker, alpha=0.65, linewidths=0, label=label, zorder=2)
    costs = [end.costs[name] for _, end in front.points]
    if costs and 0 < min(costs) * _WIDE < max(costs) < math.inf:
        axis.set_xscale("log")


def _draw_front(axis: Any, front: Front, name: str) -> None:
    """Rings around the trials of the front, and a line over them; with further costs it may go to and fro."""
    ends = front.ends or {}
    members = sorted((ends[number] for number in front.members), key=lambda end: end.costs[name])
    if not members:
        return
    x, y = [end.costs[name] for end in members], [end.value for end in members]
    if len(front.objectives) == 1:
        axis.step(x, y, where="post", color=INK, linewidth=1.2, zorder=1)
    axis.scatter(x, y, s=64, facecolors="none", edgecolors=INK, linewidths=1.3, label="front", zorder=3)
    for end in members:
        place = (end.costs[name], end.value)
        axis.annotate(str(end.trial), place, xytext=(6, 5), textcoords="offset points", fontsize=8, color=INK)
