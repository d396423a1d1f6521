"""What may be said of finalists over fresh seeds: means, spreads, paired comparisons, and plain sentences."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from autockd.facts import Direction, sign_of
from autockd.records import Evaluated, FinalistFinished, Record, TrialRole
from autockd.summary import StudySummary
from autockd.text import metric_text, plural

Verdict = Literal["better", "worse", "cannot be told apart"]

CONFIDENCE = 0.95
"""Level of intervals, and of verdicts."""

_DIGITS = 12
"""Differences that agree to so many decimals are equal: the rest is rounding."""


class Finalist(Record):
    """One configuration, run again with fresh seeds."""

    trial: int
    role: TrialRole
    method: str
    arm: str
    searched: float
    """Its validation metric in the search, under the study's own seed: too good where it was chosen for that."""
    was_stopped: bool = False
    """Whether the search stopped it early, so that `searched` is not of a whole run."""
    is_barred: bool = False
    """Whether it breaks the study's `export.pick`, so that it cannot win."""
    seeds: tuple[int, ...]
    """Of its runs that have a student."""
    validation: tuple[float, ...]
    """Metric of each run's best epoch, in the order of `seeds`."""
    test: tuple[float, ...]
    """The same runs on the test split; empty until it is opened."""

    @property
    def bias(self) -> float:
        """How far the search's value lies above the mean of fresh seeds (below, where the metric is to be small)."""
        return self.searched - statistics.fmean(self.validation)


class PairedComparison(Record):
    """One finalist against another over the same seeds."""

    seeds: int
    split: Literal["test", "validation"] = "test"
    """That it is made on."""
    difference: float
    """Mean of the first's metric minus the second's."""
    low: float
    """Lower end of the confidence interval of that mean (Student's t); NaN for a single seed."""
    high: float
    p_value: float
    """Of the paired t-test, two-sided; NaN for a single seed, and for seeds that all differ alike."""
    verdict: Verdict
    """What may be said of the first."""


class Judgement(Record):
    """The best student compared with another finalist on the test split."""

    trial: int
    against: int
    """The other's trial."""
    comparison: PairedComparison
    sentence: str


def finalists_of(summary: StudySummary) -> tuple[Finalist, ...]:
    """The finalists of a study that have a student, in the order of their trials.

    Runs from before the choice that holds, which it leaves out, are left out.
    """
    chosen, rows = summary.chosen, {row.trial: row for row in summary.trials}
    tested = {(found.trial, found.seed): found.test for found in summary.evaluated if found.seed is not None}
    values: dict[int, dict[int, float]] = {}
    for run in runs_of(summary):
        if run.value is not None:
            values.setdefault(run.trial, {})[run.seed] = run.value
    found = []
    for trial, by_seed in sorted(values.items()):
        row, seeds = rows[trial], tuple(sorted(by_seed))
        if row.value is None:
            continue
        known = [tested[trial, seed] for seed in seeds if (trial, seed) in tested]
        found.append(
            Finalist(
                trial=trial,
                role=row.role,
                method=row.method,
                arm=row.arm,
                searched=row.value,
                was_stopped=row.state == "pruned",
                is_barred=chosen is not None and trial in chosen.barred,
                seeds=seeds,
                validation=tuple(by_seed[seed] for seed in seeds),
                test=tuple(known) if len(known) == len(seeds) else (),
            )
        )
    return tuple(found)


def runs_of(summary: StudySummary) -> list[FinalistFinished]:
    """The runs of the finalists that were chosen last; earlier ones that the choice leaves out do not count."""
    chosen = summary.chosen
    return [
        run for run in summary.finalists if chosen is None or (run.trial in chosen.trials and run.seed in chosen.seeds)
    ]


def compare_paired(one: Sequence[float], other: Sequence[float], direction: Direction) -> PairedComparison:
    """Whether one finalist is better than another, over the same seeds in the same order.

    A paired t-test (scipy's `ttest_rel`) at 95 %: `better` or `worse` only where the interval of the mean difference
    leaves out 0, which few seeds seldom allow, and seeds that all differ alike never, as metrics that count samples do
    by chance: there is no spread to judge by.

    Args:
        one: metric by seed.
        other: the same of the other finalist.
        direction: `maximize` or `minimize`.
    """
    from scipy import stats

    gaps = [round(mine - theirs, _DIGITS) for mine, theirs in zip(one, other, strict=True)]
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        low = high = p_value = float("nan")
    elif len(set(gaps)) == 1:  # the test is not defined
        low, high, p_value = mean, mean, float("nan")
    else:
        test = stats.ttest_rel(one, other)
        interval = test.confidence_interval(CONFIDENCE)
        low, high, p_value = float(interval.low), float(interval.high), float(test.pvalue)
    verdict: Verdict = "cannot be told apart"
    if low != high and (low > 0 or high < 0):
        verdict = "better" if (mean > 0) == (direction == "maximize") else "worse"
    return PairedComparison(seeds=len(gaps), difference=mean, low=low, high=high, p_value=p_value, verdict=verdict)


def winner_of(finalists: Iterable[Finalist], direction: Direction) -> Finalist | None:
    """The best by its mean validation metric over fresh seeds; baselines left out, the earlier trial of equals.

    One that breaks `export.pick` does not win, nor one that failed with a seed which others came through with.
    """
    sign = sign_of(direction)
    candidates = [finalist for finalist in finalists if finalist.role != "baseline" and not finalist.is_barred]
    most = max((len(finalist.seeds) for finalist in candidates), default=0)
    whole = [finalist for finalist in candidates if len(finalist.seeds) == most]
    return max(whole, key=lambda one: (sign * statistics.fmean(one.validation), -one.trial), default=None)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the latter of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def spread_text(values: Sequence[float], metric: str) -> str:
    """Such as `95.6 ± 0.4 %`, or `0.5321 ± 0.0120` for a metric that is no accuracy; a dash for no values."""
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    if deviation is None:
        return metric_text(mean, metric)
    return f"{100 * mean:.1f} ± {100 * deviation:.1f} %" if metric == "accuracy" else f"{mean:.4f} ± {deviation:.4f}"


def names(finalists: Sequence[Finalist]) -> dict[int, str]:
    """What each is called, by trial: `no distillation`, `kd`, `continuation preset, trial 3`, `kd, trial 7`.

    A baseline is called by its trial too where there are two of its method.
    """
    shared = Counter(finalist.method for finalist in finalists if finalist.role == "baseline")
    return {finalist.trial: _name(finalist, is_shared=shared[finalist.method] > 1) for finalist in finalists}


def _name(finalist: Finalist, *, is_shared: bool) -> str:
    is_undistilled = finalist.method == "none"
    if finalist.role == "baseline":
        name = "no distillation" if is_undistilled else finalist.method
        return f"{name} (trial {finalist.trial})" if is_shared else name
    kind = "no distillation" if is_undistilled else finalist.arm or finalist.method
    is_preset = finalist.role == "default" and not is_undistilled
    return f"{kind}{' preset' if is_preset else ''}, trial {finalist.trial}"


def subject_name(row: Evaluated, summary: StudySummary) -> str:
    """What a final model is called: `student, no distillation`, `best student (continuation, trial 7)`."""
    if row.subject == "teacher":
        return "teacher"
    if row.subject == "baseline":
        return "student, no distillation" if row.label == "none" else f"student, {row.label}"
    methods = {trial.trial: trial.arm or trial.method for trial in summary.trials}
    which = "picked" if row.label == "picked" else "best"
    return f"{which} student ({methods.get(row.trial or 0, row.label)}, trial {row.trial})"


def validation_heading(summary: StudySummary, scores: str = "validation") -> str:
    """What the validation scores of final models stand under: they are in fp32, and those of trials may not be."""
    is_other = summary.precision is not None and summary.precision.precision != "fp32"
    return f"{scores} in fp32" if is_other else scores


def judgements(finalists: Sequence[Finalist], metric: str, direction: Direction) -> tuple[Judgement, ...]:
    """The best student against every baseline, every preset, and the best of every other method that was compared.

    On the test split, over the seeds that both came through with; nothing before it is opened.
    """
    best = winner_of(finalists, direction)
    if best is None or not best.test:
        return ()
    called = names(finalists)
    made = []
    for rival in _rivals(finalists, best, direction):
        mine, theirs = (dict(zip(one.seeds, one.test, strict=True)) for one in (best, rival))
        shared = sorted(mine.keys() & theirs.keys())
        if not shared:
            continue
        found = compare_paired([mine[seed] for seed in shared], [theirs[seed] for seed in shared], direction)
        who = f"best student ({called[best.trial]}) against {called[rival.trial]}"
        sentence = f"{who}, {plural(found.seeds, 'seed')}: {_said(found, metric, direction)}"
        made.append(Judgement(trial=best.trial, against=rival.trial, comparison=found, sentence=sentence))
    return tuple(made)


def selection_bias(finalists: Sequence[Finalist], metric: str, direction: Direction) -> str | None:
    """How much of the search's best validation value fresh seeds do not give again, in a sentence."""
    sign = sign_of(direction)
    whole = [one for one in finalists if one.role != "baseline" and not one.was_stopped]
    top = max(whole, key=lambda one: (sign * one.searched, -one.trial), default=None)
    if top is None:
        return None
    mean, deviation = mean_and_deviation(top.validation)
    seen, lost, count = metric_text(top.searched, metric), sign * top.bias, len(top.seeds)
    gives = f"{plural(count, 'fresh seed')} give{'s' if count == 1 else ''} {metric_text(mean, metric)}"
    if deviation is None:
        told = "one seed does not tell luck from chance"
    elif _rounds_to_nothing(lost, metric) or lost < 0:
        told = "no luck is to be seen in it"
    else:
        verb, error = "was" if metric != "accuracy" else "were", _number(deviation / math.sqrt(count), metric)
        told = f"{_amount(lost, metric)} of it {verb} luck (standard error {error})"
    whose = names(finalists)[top.trial]
    return f"the search saw {seen} on the validation split ({whose}), {gives}: {told}"


def conclusions_of(summary: StudySummary) -> tuple[str, ...]:
    """All that may be said of a study's finalists, in sentences; nothing for a study without any."""
    finalists, metric, direction = finalists_of(summary), summary.metric, summary.direction
    said = [judgement.sentence for judgement in judgements(finalists, metric, direction)]
    bias = selection_bias(finalists, metric, direction)
    return (*said, bias) if bias else tuple(said)


def _rivals(finalists: Sequence[Finalist], best: Finalist, direction: Direction) -> Iterator[Finalist]:
    arms = {one.arm for one in finalists if one.role != "baseline"} - {best.arm}
    champions = {
        champion.trial for arm in arms if (champion := winner_of((o for o in finalists if o.arm == arm), direction))
    }
    for one in finalists:
        if one.trial != best.trial and one.test and (one.role in ("baseline", "default") or one.trial in champions):
            yield one


def _said(found: PairedComparison, metric: str, direction: Direction) -> str:
    sign = sign_of(direction)
    gain = sign * found.difference
    if found.seeds == 1:
        return f"{found.verdict}: {_signed(gain, metric)}, and one seed says nothing of chance"
    if found.low == found.high:  # scores are counts of samples, so equal gaps do happen; an interval would be a sham
        return f"{found.verdict}: {_signed(gain, metric)} with each of them, which leaves no spread to judge by"
    low, high = sorted((sign * found.low, sign * found.high))
    interval = f"(95 % interval {_number(low, metric)} to {_number(high, metric)})"
    if found.verdict == "cannot be told apart":
        return f"{found.verdict}: {_signed(gain, metric)} {interval}"
    return f"{found.verdict} by {_amount(abs(gain), metric)} {interval}"


def _number(value: float, metric: str) -> str:
    """A difference, in points where the metric is an accuracy; nothing is negative that rounds to 0."""
    return f"{100 * value:z.1f}" if metric == "accuracy" else f"{value:z.4f}"


def _amount(value: float, metric: str) -> str:
    return f"{_number(value, metric)} points" if metric == "accuracy" else _number(value, metric)


def _signed(value: float, metric: str) -> str:
    if _rounds_to_nothing(value, metric):
        return "no difference" if value == 0 else "hardly a difference"
    return f"{'+' if value > 0 else ''}{_amount(value, metric)}"


def _rounds_to_nothing(value: float, metric: str) -> bool:
    return math.isclose(float(_number(value, metric)), 0.0)
