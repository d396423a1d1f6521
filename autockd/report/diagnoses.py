"""Calibration and agreement with the teacher, by model: what evaluations recorded, several seeds put together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from autockd.records import Diagnosis, Evaluated
from autockd.report.content import DiagnosisRow, Standing
from autockd.report.standings import evaluations_of


def diagnoses_of(standings: Sequence[Standing], evaluated: Sequence[Evaluated]) -> list[DiagnosisRow]:
    """One row for each model that has a diagnosis, in the order of the standings; none for a regression."""
    rows = []
    for standing in standings:
        if standing.trial is None:
            own = [found for found in evaluated if found.subject == "teacher"]
        else:
            own = evaluations_of(standing.trial, evaluated, is_finalist=bool(standing.seeds))
        known = [found.diagnosis for found in own if found.diagnosis is not None]
        if known:
            rows.append(_pooled(standing, known))
    return rows


def _pooled(standing: Standing, found: Sequence[Diagnosis]) -> DiagnosisRow:
    counts = [sum(column) for column in zip(*(one.counts for one in found), strict=True)]
    return DiagnosisRow(
        name=standing.name,
        kind=standing.kind,
        seeds=len(found),
        ece=tuple(one.ece for one in found),
        confidence=_weighed([one.confidence for one in found], [one.counts for one in found], counts),
        accuracy=_weighed([one.accuracy for one in found], [one.counts for one in found], counts),
        counts=tuple(counts),
        class_accuracy=_means([one.class_accuracy for one in found]),
        class_agreement=_means([one.class_agreement for one in found]),
        agreement=statistics.fmean(one.agreement for one in found),
    )


def _weighed(
    bins: Sequence[Sequence[float]], weights: Sequence[Sequence[int]], totals: Sequence[int]
) -> tuple[float, ...]:
    """The mean of every bin over seeds, each weighed by its samples; 0 where a bin is empty."""
    sums = [
        sum(value * weight for value, weight in zip(values, counts, strict=True))
        for values, counts in zip(zip(*bins, strict=True), zip(*weights, strict=True), strict=True)
    ]
    return tuple(total and value / total for value, total in zip(sums, totals, strict=True))


def _means(columns: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(statistics.fmean(column) for column in zip(*columns, strict=True))
