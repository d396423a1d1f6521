"""Compare ways to search at equal cost, by replaying recorded trials through the real searchers and stopping rules.

.venv/bin/python scripts/benchmark_stopping.py --seeds 60 --plot tests/replay/early_stopping.png

Prints a table in Markdown. The trials are those of tests/replay/digits_curves.json.gz, which scripts/record_curves.py
recorded; workers and their clock are simulated.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "replay"))  # the replay's own modules are no package

from harness.comparison import Estimate, Result, mean, ratio, result, search
from harness.contestants import Contestant, Ours, RayDefault
from harness.curves import Curves

from autockd.config import StudyConfig, load_study

STUDY = Path(__file__).parents[1] / "search_spaces" / "resnet8_from_resnet20_digits.yaml"
COSTS = (6.0, 12.0, 24.0, 36.0, 48.0)
HEADLINE = 24.0
"""Whole runs that the digits study pays for."""
RANDOM, RAY = "random search", "OptunaSearch + ASHA"
WORKERS = 2


def contestants() -> dict[str, Contestant]:
    """By name; the first two are what the others are compared with."""
    return {
        RANDOM: Ours(study("search.stopping.rule=none", "search.sampler=random")),
        RAY: RayDefault(),
        "autockd, none": Ours(study("search.stopping.rule=none")),
        "autockd, fraction": Ours(study("search.stopping.rule=fraction")),
        "autockd, ladder": Ours(study("search.stopping.rule=ladder")),
    }


def study(*overrides: str) -> StudyConfig:
    """The digits study as it was recorded, with more trials than any budget has time for."""
    own = ("training.epochs=9", "search.trials=1000", "search.baselines=[]", "search.enqueue_defaults=false")
    return load_study(STUDY, [*own, *overrides])


def table(results: Mapping[str, Result]) -> str:
    """Regrets in points of validation accuracy, with intervals; ratios are paired by seed."""
    heads = [*(f"at {cost:g} runs" for cost in COSTS), "/ random", "/ ASHA", "expected", "trials", "to the end"]
    lines = [f"| search | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    place = COSTS.index(HEADLINE)
    for name, found in results.items():
        cells = [_points(mean(found.shown[:, column])) for column in range(len(COSTS))]
        for other in (RANDOM, RAY):
            against = ratio(found.shown[:, place], results[other].shown[:, place])
            cells.append("1" if name == other else f"{against.value:.2f} ({against.low:.2f} to {against.high:.2f})")
        cells.append(_points(mean(found.expected[:, place])))
        cells += [f"{found.trials.mean():.0f}", f"{found.whole.mean():.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Mapping[str, Result], path: Path) -> None:
    """Mean regret over cost, with bands of 95 %."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, found in results.items():
        estimates = [mean(100 * found.shown[:, column]) for column in range(len(COSTS))]
        (line,) = axis.plot(COSTS, [estimate.value for estimate in estimates], marker="o", markersize=4, label=name)
        low, high = [estimate.low for estimate in estimates], [estimate.high for estimate in estimates]
        axis.fill_between(COSTS, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axis.set(xlabel="cost in whole runs", ylabel="regret, points of validation accuracy", ylim=(0, None))
    axis.grid(visible=True, color="#e4e4e4", linewidth=0.8)
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60, help="searches of each contestant (default: 60)")
    parser.add_argument("--plot", type=Path, help="where to draw the regrets, *.png")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = Curves.load()
    results = {}
    for name, contestant in contestants().items():
        print(name, file=sys.stderr)
        searches = [search(contestant, curves, seed, WORKERS, COSTS) for seed in range(options.seeds)]
        results[name] = result(curves, searches)
    print(table(results))
    if options.plot is not None:
        plot(results, options.plot)
    return 0


def _points(estimate: Estimate) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
