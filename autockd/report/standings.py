"""Who is compared with whom: the teacher, the baselines, the study's own values, the winner, further finalists."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from autockd.facts import Direction
from autockd.records import Evaluated
from autockd.report.content import Kind, Standing, preset_among, undistilled_among
from autockd.summary import StudySummary, TrialRow, best_of_arms
from autockd.verdicts import Finalist, PairedComparison, compare_paired, finalists_of, winner_of

_ORDER: dict[Kind, int] = {"teacher": 0, "winner": 1, "preset": 2, "candidate": 3, "baseline": 4}


def standings_of(summary: StudySummary) -> tuple[Standing, ...]:
    """All models of the comparison: the teacher, the winner, the preset, further finalists, the baselines."""
    found_again = finalists_of(summary)
    if winner_of(found_again, summary.direction) is None:  # the search's own students were tested instead
        found_again = ()
    finalists = {finalist.trial: finalist for finalist in found_again}
    winner = winner_among(summary, finalists.values())
    chosen = {winner, *(row.trial for row in best_of_arms(summary).values())}
    rows = [row for row in summary.trials if _takes_part(row, finalists, chosen)]
    found = [_standing(row, finalists.get(row.trial), summary, winner) for row in rows]
    found = _with_comparisons(_with_distinct_names(found), summary.direction)
    teacher = _teacher(summary)
    return tuple(sorted([*teacher, *found], key=lambda standing: _ORDER[standing.kind]))


def winner_among(summary: StudySummary, finalists: Iterable[Finalist]) -> int | None:
    """The trial that won: the best finalist by its fresh seeds' validation; without finalists the search's choice.

    The test split has no say in it.
    """
    winner = winner_of(finalists, summary.direction)
    picked = next((found.trial for found in summary.evaluated if found.label == "picked"), None)
    return winner.trial if winner else summary.best_trial if picked is None else picked


def _takes_part(row: TrialRow, finalists: Mapping[int, Finalist], chosen: Collection[int | None]) -> bool:
    """Finalists do; where nothing ran again, baselines, presets, the winner, and the best of each compared method."""
    if finalists:
        return row.trial in finalists
    return row.value is not None and (row.role in ("baseline", "default") or row.trial in chosen)


def _teacher(summary: StudySummary) -> list[Standing]:
    tested = next((found for found in summary.evaluated if found.subject == "teacher"), None)
    record = summary.teacher
    if record is None and tested is None:
        return []
    return [
        Standing(
            name="teacher",
            kind="teacher",
            searched=tested.validation if tested else record.metric if record else None,
            test=(tested.test,) if tested else (),
            parameters=tested.parameters if tested else record.parameters if record else None,
            bytes=tested.bytes if tested else record.bytes if record else None,
        )
    ]


def _standing(row: TrialRow, finalist: Finalist | None, summary: StudySummary, winner: int | None) -> Standing:
    evaluated = evaluations_of(row.trial, summary.evaluated, is_finalist=finalist is not None)
    kind = _kind(row, winner)
    return Standing(
        name=_name(row, kind),
        kind=kind,
        trial=row.trial,
        method=row.method,
        arm=row.arm,
        searched=row.value,
        seeds=finalist.seeds if finalist else (),
        validation=finalist.validation if finalist else (),
        test=finalist.test if finalist else tuple(found.test for found in evaluated),
        parameters=evaluated[0].parameters if evaluated else row.parameters,
        bytes=evaluated[0].bytes if evaluated else None,
        costs=row.costs or mean_costs(row.trial, summary),
        was_stopped=row.state == "pruned",
    )


def mean_costs(trial: int, summary: StudySummary) -> dict[str, float]:
    """Costs of a finalist whose trial has none of its own: means over its runs."""
    known = [run.costs for run in summary.finalists if run.trial == trial and run.costs]
    names = dict.fromkeys(name for costs in known for name in costs)
    return {name: statistics.fmean(costs[name] for costs in known if name in costs) for name in names}


def evaluations_of(trial: int, evaluated: Iterable[Evaluated], *, is_finalist: bool) -> list[Evaluated]:
    """A trial's evaluations: of its fresh seeds if it is a finalist, else the one of the search's own student."""
    found = [one for one in evaluated if one.trial == trial and (one.seed is not None) == is_finalist]
    return sorted(found, key=lambda one: one.seed or 0) if is_finalist else found[:1]


def _kind(row: TrialRow, winner: int | None) -> Kind:
    if row.trial == winner:
        return "winner"
    kinds: dict[str, Kind] = {"baseline": "baseline", "default": "preset"}
    return kinds.get(row.role, "candidate")


def _name(row: TrialRow, kind: Kind) -> str:
    method = row.arm or row.method
    if kind == "baseline":
        return "no distillation" if row.method == "none" and not row.arm else method
    if kind == "preset":
        return f"preset: {method}"
    own = ", the preset" if row.role == "default" else ""
    return f"winner: {method}, trial {row.trial}{own}" if kind == "winner" else f"{method}, trial {row.trial}"


def _with_distinct_names(standings: Sequence[Standing]) -> list[Standing]:
    names = [standing.name for standing in standings]
    return [
        standing
        if names.count(standing.name) == 1
        else standing.model_copy(update={"name": f"{standing.name}, trial {standing.trial}"})
        for standing in standings
    ]


def _with_comparisons(standings: Sequence[Standing], direction: Direction) -> list[Standing]:
    """Each against the student without distillation and against the preset, wherever both have fresh seeds."""
    plain, preset = undistilled_among(standings, direction), preset_among(standings)
    return [
        standing.model_copy(
            update={
                "against_none": _compared(standing, plain, direction),
                "against_preset": _compared(standing, preset, direction),
            }
        )
        for standing in standings
    ]


def _compared(one: Standing, other: Standing | None, direction: Direction) -> PairedComparison | None:
    """Over the seeds that both have, on the test split if both were tested, else on validation."""
    if other is None or other.trial == one.trial or not (one.seeds and other.seeds):
        return None
    is_tested = bool(one.test and other.test)
    mine = dict(zip(one.seeds, one.test if is_tested else one.validation, strict=True))
    theirs = dict(zip(other.seeds, other.test if is_tested else other.validation, strict=True))
    shared = [seed for seed in one.seeds if seed in theirs]
    if not shared:
        return None
    found = compare_paired([mine[seed] for seed in shared], [theirs[seed] for seed in shared], direction)
    return found.model_copy(update={"split": "test" if is_tested else "validation"})
