"""A study in sentences: who won, by how much, whether that can be told apart, and what must not be read into it."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from autockd.facts import sign_of
from autockd.report.content import STATES, ReportContent, Standing
from autockd.report.model_charts import judged_values
from autockd.text import count_text, duration, metric_text, plural
from autockd.verdicts import CONFIDENCE, PairedComparison

_FEW_SEEDS = 5
"""Below so many seeds, an interval is wide enough to hide a gain that matters."""

_LONGEST_REASON = 160


def sentences(content: ReportContent) -> tuple[str, ...]:
    """What came of a study."""
    winner = content.of_kind("winner")
    if winner is None:
        return (_no_winner(content), _effort(content))
    parts = [_headline(content, winner), *_verdicts(content, winner), *_luck(content)]
    return (*parts, *_arms(content), *_front(content), *_diagnosis(content), _effort(content))


def caveats(content: ReportContent) -> tuple[str, ...]:
    """What must not be read into it."""
    return (*_what_is_missing(content), *_what_is_unequal(content), *_what_went_wrong(content))


def gap_text(gap: float, metric: str) -> str:
    """A difference of metrics: `+1.30 points` of accuracy, `+0.0130` of another; what rounds to 0 is not negative."""
    scaled, digits, unit = (100 * gap, 2, " points") if metric == "accuracy" else (gap, 4, "")
    return f"{scaled:+z.{digits}f}{unit}".replace("-", "\N{MINUS SIGN}")


def interval_text(found: PairedComparison, metric: str) -> str:
    """A difference with its interval at 95 %: `+1.30 (+0.20 to +2.40)`; one seed, and seeds that all differ alike, have
    none.
    """
    gap, low, high = (
        gap_text(number, metric).removesuffix(" points") for number in (found.difference, found.low, found.high)
    )
    return gap if found.seeds < 2 or found.low == found.high else f"{gap} ({low} to {high})"


def moment(seconds: float) -> str:
    """A moment in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _headline(content: ReportContent, winner: Standing) -> str:
    named = winner.name.removeprefix("winner: ")
    text = f"The winner is {named}, with {_score(content, winner)}"
    others = [(content.undistilled, "without distillation"), (content.of_kind("teacher"), "of the teacher")]
    beside = [
        f"{_score(content, other, brief=True)} {what}"
        for other, what in others
        if other is not None and other != winner
    ]
    text += f", beside {' and '.join(beside)}." if beside else "."
    return f"{text} {_size(content, winner)}".rstrip()


def _score(content: ReportContent, standing: Standing, *, brief: bool = False) -> str:
    """Such as `97.0 % test accuracy (mean of 5 fresh seeds, standard deviation 0.3)`; the split that is known of it."""
    metric = content.metric.replace("_", " and ")
    values, split = judged_values(content, standing)
    shown = metric_text(statistics.fmean(values) if values else None, content.metric)
    same = split == content.judged_on
    if brief:
        return shown if same else f"{shown} ({split})"
    deviation = f", standard deviation {_deviation(values, content.metric)}" if len(values) > 1 else ""
    whence = f"mean of {plural(len(values), 'fresh seed')}{deviation}" if standing.seeds else "one seed"
    return f"{shown} {split} {metric} ({whence})"


def _deviation(values: Sequence[float], metric: str) -> str:
    deviation = statistics.stdev(values)
    return f"{100 * deviation:.1f} points" if metric == "accuracy" else f"{deviation:.4f}"


def _size(content: ReportContent, winner: Standing) -> str:
    teacher = content.of_kind("teacher")
    if winner.parameters is None:
        return ""
    text = f"It has {count_text(winner.parameters)} parameters"
    if teacher is None or not teacher.parameters:
        return f"{text}."
    ratio = teacher.parameters / winner.parameters
    return f"{text}, the teacher {count_text(teacher.parameters)}: {ratio:.3g} times as many."


def _verdicts(content: ReportContent, winner: Standing) -> Iterator[str]:
    pairs = [(winner.against_none, "the student without distillation"), (winner.against_preset, "the preset")]
    for found, whom in pairs:
        if found is not None:
            yield _verdict(found, whom, content)
    if content.undistilled is None:
        was_searched = any(row.method == "none" and row.value is not None for row in content.trials)
        how = "trained again" if was_searched else "trained"
        yield f"No student was {how} without distillation, so what distillation is worth here is not known."
    elif winner.against_none is None and winner.trial != content.undistilled.trial:
        why = "both were trained with one seed (finalists.seeds asks for more)"
        if content.has_seeds:
            why = "they have no fresh seed in common"
        yield f"Whether that is better than no distillation cannot be said: {why}."


def _verdict(found: PairedComparison, whom: str, content: ReportContent) -> str:
    """The plain sentence of a paired comparison."""
    metric = content.metric
    if found.seeds < 2:
        return (
            f"Against {whom} the difference is {gap_text(found.difference, metric)} on {found.split} under one "
            "seed: that cannot be told apart from chance."
        )
    if found.low == found.high:
        gap = f"{gap_text(found.difference, metric)} on {found.split} with each of {found.seeds} seeds"
        return f"It cannot be told apart from {whom} ({gap}, which leaves no spread to judge by)."
    low, high = gap_text(found.low, metric).removesuffix(" points"), gap_text(found.high, metric)
    numbers = (
        f"{gap_text(found.difference, metric)} on {found.split}, 95 % interval {low} to {high}, "
        f"paired t-test over {found.seeds} seeds, p = {found.p_value:.2g}"
    )
    if found.verdict == "cannot be told apart":
        return f"It cannot be told apart from {whom} ({numbers})."
    return f"It is {found.verdict} than {whom} ({numbers})."


def _luck(content: ReportContent) -> Iterator[str]:
    """Selection bias: the best of the search, which need not be the winner, beside what fresh seeds give."""
    if content.luck:
        yield f"{content.luck[0].upper()}{content.luck[1:]}."


def _arms(content: ReportContent) -> Iterator[str]:
    known = [arm for arm in content.arms if arm.best_value is not None]
    if len(content.arms) < 2 or not known:
        return
    sign = sign_of(content.direction)
    ranked = sorted(known, key=lambda arm: -sign * (arm.best_value or 0.0))
    listed = ", ".join(f"{arm.arm} {metric_text(arm.best_value, content.metric)}" for arm in ranked)
    counts = {arm.trials for arm in content.arms}
    budget = f"{plural(counts.pop(), 'trial')} each" if len(counts) == 1 else "unequal numbers of trials"
    yield f"Methods were searched one by one with {budget}; the best validation {content.metric} of each is {listed}."


def _front(content: ReportContent) -> Iterator[str]:
    if content.objectives:
        complete = sum(row.state == "complete" and row.role != "baseline" for row in content.trials)
        costs = ", ".join(content.objectives)
        yield (
            f"{len(content.front)} of {plural(complete, 'complete trial')} are on the Pareto front of "
            f"{content.metric} against {costs}: of these trials no other beats them in all of that. "
            + (f"A baseline is as good in everything as {len(content.beaten)} of them." if content.beaten else "")
        ).rstrip()


def _diagnosis(content: ReportContent) -> Iterator[str]:
    rows = {row.kind: row for row in content.diagnoses}
    if (winner := rows.get("winner")) is None:
        return
    text = (
        f"It agrees with the teacher on {winner.agreement:.1%} of the test samples; "
        f"its calibration error (ECE) is {statistics.fmean(winner.ece):.1%}"
    ).replace("%", " %")
    teacher = rows.get("teacher")
    yield text + (f", the teacher's {100 * teacher.ece[0]:.1f} %." if teacher else ".")


def _effort(content: ReportContent) -> str:
    counts: Counter[str] = Counter(row.state for row in content.trials)
    listed = ", ".join(f"{counts[state]} {words}" for state, words in STATES.items() if counts[state])
    total = content.cost.stages.get("total")
    is_short = len(content.trials) < content.asked and not content.arms
    asked = f" of {content.asked} that were asked for" if is_short else ""
    text = f"{plural(len(content.trials), 'trial')}{asked}: {listed}"
    if not listed:
        text = f"None of {plural(content.asked, 'trial')} has begun"
    if total is None:
        return f"{text}."
    return f"{text}; {'the last session of ' if content.cost.sessions > 1 else ''}the study took {duration(total)}."


def _no_winner(content: ReportContent) -> str:
    if not content.trials:
        return "There is no result yet: no trial has begun."
    complete = [row for row in content.trials if row.state == "complete"]
    if complete and all(row.role == "baseline" for row in complete):
        return f"There is no winner{'' if content.finished else ' yet'}: only baselines are complete."
    return "There is no winner: no trial has a usable student."


def _what_is_missing(content: ReportContent) -> Iterator[str]:
    if not content.finished:
        yield f"The study is not finished; this is how it stood at {moment(content.ended)}."
    winner = content.of_kind("winner")
    if winner is None:
        return
    if not content.has_seeds:
        wanted = "high" if content.direction == "maximize" else "low"
        yield (
            "Every model was trained with one seed: differences of the size that another seed makes mean nothing, and "
            f"the winner's validation value was selected for being {wanted}."
        )
    else:
        yield from _what_intervals_leave_out(content)
    if not content.test_opened:
        yield "The test split has not been opened; all values are of the validation split, on which trials were chosen."
    if not any(name.startswith("latency_ms") for name in winner.costs):
        yield "The search measured no latency."


def _what_intervals_leave_out(content: ReportContent) -> Iterator[str]:
    """Of models that ran again with fresh seeds."""
    tried = [row for row in content.standings if row.seeds]
    if (fewest := min(len(row.seeds) for row in tried)) < _FEW_SEEDS:
        yield f"{plural(fewest, 'fresh seed')}, so intervals are wide: a small gain would not show."
    diagnosis = next((row for row in content.diagnoses if row.kind == "winner"), None)
    about = ""
    if diagnosis is not None and content.metric == "accuracy" and (answers := sum(diagnosis.counts)):
        right = sum(share * count for share, count in zip(diagnosis.accuracy, diagnosis.counts, strict=True)) / answers
        error = math.sqrt(right * (1 - right) / answers * diagnosis.seeds)
        about = f" (by a standard error of {100 * error:.1f} points for the winner's accuracy)"
    yield f"Intervals are of seeds alone: what other test samples would change{about} is in none of them."
    if (pairs := _judged_pairs(content, tried)) > 1:
        chance = f"{1 - CONFIDENCE**pairs:.0%}".replace("%", " %")
        yield (
            f"Each of {pairs} comparisons is judged at 95 % by itself: where nothing differs, some would seem to "
            f"with a probability of up to {chance}."
        )
    if (models := sum(row.kind != "baseline" for row in tried)) > 1:
        yield (
            f"The winner was chosen among {models} models by validation values of these very runs, which flatters its "
            "test values a little too."
        )


def _judged_pairs(content: ReportContent, tried: Sequence[Standing]) -> int:
    """Pairs of models that are compared over several seeds; the preset and the baseline are one, whichever is first."""
    plain, preset = content.undistilled, content.preset
    found = {
        frozenset((row.trial, other.trial))
        for row in tried
        for other, compared in ((plain, row.against_none), (preset, row.against_preset))
        if other is not None and compared is not None and compared.seeds > 1
    }
    return len(found)


def _what_is_unequal(content: ReportContent) -> Iterator[str]:
    winner, undistilled = content.of_kind("winner"), content.undistilled
    searched = sum(row.role != "baseline" for row in content.trials)
    if winner and undistilled and undistilled.kind == "baseline" and not undistilled.arm and searched > 1:
        yield (
            f"Baselines had one configuration, the study's own, while the winner is the best of {searched} trials; "
            "a study that compares methods gives each the same number of trials."
        )
    if content.test_opened:
        moments = " and ".join(moment(opened) for opened in content.test_opened)
        yield f"The test split was opened at {moments}, after the search; nothing was chosen by it."


def _what_went_wrong(content: ReportContent) -> Iterator[str]:
    lost, runs = content.failed_runs
    if lost:
        yield f"{lost} of {plural(runs, 'run')} with fresh seeds failed."
    failed = [row for row in content.trials if row.state == "failed"]
    if failed:
        reasons = Counter((row.reason.splitlines() or ["no reason is known"])[0][:_LONGEST_REASON] for row in failed)
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        yield f"{plural(len(failed), 'trial')} failed: {listed}."
