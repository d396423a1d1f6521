"""What a comparison found, as Markdown and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from search_benchmark.judging import OURS, Ratio
from search_benchmark.measuring import Measured
from search_benchmark.profiles import CAPTURE, NOT_CAPTURED


def ratios_table(ratios: Sequence[Ratio], runs: Sequence[Measured]) -> str:
    """One line an arm."""
    lines = [
        "| arm | wall time, all trials | x autockd: median (min to max) | trials run | autockd - arm, in % (error) | |",
        "|---|---|---|---|---|---|",
    ]
    own = [run for run in runs if run.arm == OURS]
    lines.append(f"| {OURS} | {_median(own):.0f} s | 1 | {own[0].trials} | | |")
    for ratio in ratios:
        walls = _median([run for run in runs if run.arm == ratio.arm])
        spread = f"{ratio.median:.1f} ({min(ratio.rounds):.1f} to {max(ratio.rounds):.1f})"
        if ratio.holds is False:
            spread = "void"
        gap = f"{100 * ratio.difference:+.2f} ({100 * ratio.error:.2f})"
        verdict = {True: "", False: "void: the metrics differ", None: "one round cannot tell whether it holds"}[
            ratio.holds
        ]
        lines.append(f"| {ratio.arm} | {walls:.0f} s | {spread} | {ratio.trials} | {gap} | {verdict} |")
    return "\n".join(lines)


def waterfall(runs: Sequence[Measured], whole: Measured) -> str:
    """What each technique gives: the time without it over the time with it, and whether it changes the students.

    What cannot be taken away where steps are captured is compared with the run without CUDA graphs, if there is one.
    """
    uncaptured = next((run for run in runs if run.arm.endswith(f" -{CAPTURE}")), whole)
    lines = ["| without | wall time, all trials | x autockd | trials run | metric with - without, in % |"]
    lines.append("|---|---|---|---|---|")
    for run in sorted(runs, key=lambda run: -run.projected):
        technique = run.arm.partition(" -")[2]
        base = uncaptured if technique in NOT_CAPTURED else whole
        ratio = run.projected / base.projected
        count = min(run.trials, base.trials)
        with_it, without = (statistics.mean(each.result.metrics[:count]) for each in (base, run))
        gap = f"{100 * (with_it - without):+.2f}"
        lines.append(f"| {technique} | {run.projected:.0f} s | {ratio:.2f} | {run.trials} | {gap} |")
    return "\n".join(lines)


def shares_table(runs: Sequence[Measured]) -> str:
    """Where autockd's wall time goes, and its share of the bound; of its median run."""
    run = sorted(runs, key=lambda run: run.wall)[len(runs) // 2]
    parts = {**run.result.seconds, "imports, report, exit": run.wall - sum(run.result.seconds.values())}
    lines = ["| | seconds | share |", "|---|---|---|", f"| whole command | {run.wall:.1f} | |"]
    lines += [f"| {name} | {seconds:.1f} | {seconds / run.wall:.0%} |" for name, seconds in parts.items()]
    facts = [f"{name}: {value:.3g}" for name, value in run.result.facts.items()]
    return "\n".join([*lines, "", "; ".join(facts)])


def as_json(ratios: Sequence[Ratio], runs: Sequence[Measured], without: Sequence[Measured] = ()) -> dict[str, Any]:
    """All of it; the first of `without` has every technique."""
    return {
        "ratios": [_numbers(ratio) for ratio in ratios],
        "runs": [asdict(run) for run in runs],
        "without": [asdict(run) for run in without],
    }


def _numbers(ratio: Ratio) -> dict[str, Any]:
    """JSON has no NaN; a ratio that is void is no number."""
    error = None if math.isnan(ratio.error) else ratio.error
    median = None if ratio.holds is False else ratio.median
    return {**asdict(ratio), "error": error, "median": median, "holds": ratio.holds}


def _median(runs: Sequence[Measured]) -> float:
    return statistics.median(run.projected for run in runs)
