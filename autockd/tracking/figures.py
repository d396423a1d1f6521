"""The picture of a plan. Drawn without pyplot, whose state is global: threads may draw at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def plain_style() -> Iterator[None]:
    """Within this pictures are drawn, and saved, as matplotlib draws them where nobody has changed its settings."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


COLORS = ("#2a78d6", "#eb6834", "#1baf7a", "#8a4fd0", "#c9a400", "#5f6b7a")
_SHARES = {"hard_weight": "psi (hard_weight)", "smoothing": "phi (smoothing)"}
_PANELS = {"margin": "margin", "learning_rate": "learning_rate"}


def plan_figure(columns: Mapping[str, Sequence[float]], steps_per_epoch: float, title: str) -> Figure:
    """Phi, psi, margin and learning rate over a run, each value held until the next step.

    Args:
        columns: coefficients of a plan by name, a number for every training step, or for steps evenly spread; others
            than those four are left out.
        steps_per_epoch: how many of these steps an epoch has, the unit of the horizontal axis.
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


def _draw_columns(axis: Any, columns: Mapping[str, Sequence[float]], steps_per_epoch: float) -> None:
    frame(axis)
    for color, (label, values) in zip(COLORS, columns.items(), strict=False):
        # Step t rules from t to t + 1, so the last value is drawn up to the end of the run.
        moments = [step / steps_per_epoch for step in range(len(values) + 1)]
        axis.step(moments, [*values, *values[-1:]], where="post", color=color, linewidth=1.8, label=label)
    if len(columns) > 1:
        axis.legend(fontsize=8, frameon=False)
    else:
        axis.set_ylabel(next(iter(columns)))


def frame(axis: Any) -> None:
    """Grid and borders as all pictures have them."""
    axis.grid(visible=True, color="#e4e4e4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
