"""Where a study's wall time went, and how close it came to the least that its machine needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from autockd.limits import Bound, Work, trials_on_one_gpu
from autockd.records import (
    BankReady,
    EpochFinished,
    Event,
    FinalistFinished,
    PrecisionChosen,
    StudyResumed,
    TrialFinished,
)


def time_split(events: Iterable[Event], seconds: Mapping[str, float]) -> dict[str, float]:
    """The wall time of a study's last session by what it went into; the values add up to its total.

    What workers do side by side counts as the wall time that it would take on all of them: the sum over the number of
    workers. What is then left of the search is `waiting`: workers without a trial, what trials do beside training and
    validating, and runs that are compressed for a rung, whose epochs nobody keeps.

    Args:
        events: of the study.
        seconds: wall time by stage of that session, with its `total`.
    """
    history = list(events)
    chosen = _chosen(history)
    workers = chosen.parallel if chosen else 1
    session = _last_session(history)
    epochs = [event for event in session if isinstance(event, EpochFinished)]
    training = sum(event.record.train_seconds for event in epochs) / workers
    evaluation = sum(event.record.evaluate_seconds for event in epochs) / workers
    split = {
        "start-up": seconds.get("start", 0.0) + seconds.get("probe", 0.0) + _workers_start(session, seconds),
        "data": seconds.get("data", 0.0),
        "teacher": sum(seconds.get(stage, 0.0) for stage in ("teacher", "assistant", "bank")),
        "training": training,
        "evaluation": evaluation + seconds.get("evaluate", 0.0) + seconds.get("costs", 0.0),
        "finalists": seconds.get("finalists", 0.0),
        "export": seconds.get("export", 0.0),
    }
    left = max(0.0, seconds.get("total", 0.0) - sum(split.values()))
    tracking = min(seconds.get("tracking", 0.0), left)  # what of it workers did not have to wait for counts as theirs
    return {**split, "tracking": tracking, "waiting": left - tracking}


def bound_of(events: Iterable[Event], total: float) -> Bound | None:
    """The least time for a study's teacher pass and training steps, finalists' too, and the study's share of it.

    Of trials that were stopped early the steps that they did count; of runs that were compressed for a rung none do.

    Args:
        events: of the study.
        total: its wall time, in seconds.

    Returns:
        The bound; None where the peaks are not known, or no trial's work is.
    """
    history = list(events)
    chosen = _chosen(history)
    session = _last_session(history)
    ended = [event for event in session if isinstance(event, TrialFinished | FinalistFinished)]
    epochs = {(event.trial, event.record.epoch) for event in session if isinstance(event, EpochFinished)}
    own = Counter(trial for trial, _ in epochs)
    works = [  # of a trial that went on from a checkpoint, what was done of it in this session
        event.work.times(min(1.0, own[event.trial] / event.epochs))
        for event in ended
        if isinstance(event, TrialFinished) and event.work is not None and event.epochs
    ]
    again = [event.work for event in ended if isinstance(event, FinalistFinished) and event.work is not None]
    if chosen is None or chosen.peaks is None or not works or total <= 0:
        return None
    answers = [event.bank.work for event in session if isinstance(event, BankReady) and event.bank.work is not None]
    counted = {event.trial for event in session if isinstance(event, TrialFinished) and event.work is not None}
    took = sum(
        event.record.train_seconds for event in session if isinstance(event, EpochFinished) and event.trial in counted
    )
    devices = _devices(chosen)
    steps = sum(map(chosen.peaks.seconds, works))
    least = (sum(map(chosen.peaks.seconds, [*answers, *again])) + steps) / devices
    return Bound(
        seconds=least,
        share=least / total,
        training_share=steps * chosen.parallel / devices / took if took else 0.0,
        workers=chosen.parallel,
    )


def added(works: Iterable[Work | None]) -> Work | None:
    """All of it together; None where there is none."""
    known = [work for work in works if work is not None]
    return Work(flop=sum(work.flop for work in known), bytes=sum(work.bytes for work in known)) if known else None


def _chosen(events: Sequence[Event]) -> PrecisionChosen | None:
    return next((event for event in reversed(events) if isinstance(event, PrecisionChosen)), None)


def _devices(chosen: PrecisionChosen) -> int:
    """How many of what `peaks` were measured on the workers have: as many as they are, or the GPUs that they share."""
    if not 0 < chosen.gpus < 1:
        return chosen.parallel
    return math.ceil(chosen.parallel / trials_on_one_gpu(chosen.gpus))


def _last_session(events: Sequence[Event]) -> Sequence[Event]:
    starts = [place for place, event in enumerate(events) if isinstance(event, StudyResumed)]
    return events[starts[-1] :] if starts else events


def _workers_start(session: Sequence[Event], seconds: Mapping[str, float]) -> float:
    """What the search took beyond the span from its first trial's first step to its last trial's end."""
    begins = [
        event.time - event.record.train_seconds - event.record.evaluate_seconds
        for event in session
        if isinstance(event, EpochFinished)
    ]
    ends = [event.time for event in session if isinstance(event, TrialFinished)]
    if not begins or not ends:
        return seconds.get("search", 0.0)
    return max(0.0, seconds.get("search", 0.0) - (max(ends) - min(begins)))
