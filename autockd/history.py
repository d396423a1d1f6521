"""What a study has behind it: its ledger's events, asked the questions that going on needs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from autockd import __version__
from autockd.config.schema import StudyConfig
from autockd.errors import StudyError
from autockd.records import (
    AssistantReady,
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    FinalistsChosen,
    PrecisionChosen,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TeacherRecord,
    TestOpened,
    TrialFinished,
    TrialStarted,
)

if TYPE_CHECKING:
    from autockd.data import HeldOut, Task

SomeEvent = TypeVar("SomeEvent")

MOVED = ("task.path", "task.root", "task.test_file", "teacher.model.weights", "assistant.model.weights")
"""Where the data and given weights lie: what lies there is compared by its content."""

MAY_CHANGE = (
    *("note", "search.trials", "search.time_budget", "finalists", "resources", "tracking", "export", "smoke"),
    *MOVED,
)
"""Fields of a study, and sections, that change no trial."""

_SHARED = ("search.trials", "search.time_budget", "resources.trial_timeout")
"""What compared methods must have alike."""

MUST_STAY = ("resources.precision", "resources.teacher_precision")
"""Fields in those sections that do."""


_SLEEP, _EPOCHS = 600.0, 3
"""Seconds, and epochs as long as the longest so far, after which a search from which nothing came did not run."""


class History:
    """The events of a study so far; empty for a new one."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = tuple(events)

    def __bool__(self) -> bool:
        return bool(self.events)

    @property
    def start(self) -> StudyStarted:
        """How the study began; a new one has not."""
        return next(event for event in self.events if isinstance(event, StudyStarted))

    @property
    def config(self) -> StudyConfig:
        """The configuration that the study ran with last, defaults of this version filled in."""
        configs = [event.config for event in self.events if isinstance(event, StudyStarted | StudyResumed)]
        return StudyConfig.model_validate(configs[-1])

    @property
    def starts(self) -> dict[int, TrialStarted]:
        """How each trial began, by number."""
        return {event.trial: event for event in self.events if isinstance(event, TrialStarted)}

    @property
    def teacher(self) -> TeacherRecord | None:
        """The teacher that trials learned from."""
        event = self._last(TeacherReady)
        return event.teacher if event else None

    @property
    def assistant(self) -> TeacherRecord | None:
        """The assistant that trials learned from."""
        event = self._last(AssistantReady)
        return event.assistant if event else None

    @property
    def arms(self) -> frozenset[str]:
        """Labels of the compared methods that have a trial; an empty one where nothing is compared."""
        return frozenset(event.arm for event in self.events if isinstance(event, TrialStarted))

    @property
    def precision(self) -> PrecisionChosen | None:
        """The arithmetic of its trials, and the workers that it last had."""
        return self._last(PrecisionChosen)

    @property
    def evaluated(self) -> frozenset[str]:
        """Labels of the models whose test metric is known."""
        return frozenset(event.label for event in self.events if isinstance(event, Evaluated))

    @property
    def test_opened(self) -> TestOpened | None:
        """When the test split was opened."""
        return self._last(TestOpened)

    @property
    def exported(self) -> Exported | None:
        """The bundle."""
        return self._last(Exported)

    @property
    def is_finished(self) -> bool:
        """Whether the study came to its end, and nobody has gone on since."""
        ends = [event for event in self.events if isinstance(event, StudyFinished | StudyResumed)]
        return bool(ends) and isinstance(ends[-1], StudyFinished)

    def asked_for_more(self, config: StudyConfig) -> str:
        """The field with which this configuration asks for what the last one did not; empty if none does.

        That is: for more trials, or for other finalists.
        """
        search, before = config.search, self.config.search
        for field, value in self.config.finalists:
            if getattr(config.finalists, field) != value:
                return f"finalists.{field}"
        if search.trials > before.trials:
            return "search.trials"
        had_time = sum(isinstance(event, TrialStarted) for event in self.events) >= self.config.asked
        has_more = before.time_budget is not None and (search.time_budget or math.inf) > before.time_budget
        return "search.time_budget" if has_more and not had_time else ""

    def has_chosen_finalists(self, config: StudyConfig) -> bool:
        """Whether finalists were chosen, and nobody has asked for more since then, nor does with this configuration."""
        places = [place for place, event in enumerate(self.events) if isinstance(event, FinalistsChosen)]
        if not places or self.asked_for_more(config):
            return False
        since = self.events[places[-1] :]
        changes = [change for event in since if isinstance(event, StudyResumed) for change in event.changes]
        has_more = any(change.startswith(("search.", "finalists")) for change in changes)
        return not has_more and not any(isinstance(event, TrialStarted) for event in since)

    def arm_seconds(self, arm: str) -> float:
        """Wall time that the search took, in all of the study's parts: of one method that it compares, by its label.

        A part counts from the beginning of what is first heard of a trial, for its worker has to start before that, to
        the last that is heard of one.
        """
        trials = {event.trial for event in self.events if isinstance(event, TrialStarted) and event.arm == arm}
        kinds = TrialStarted | EpochFinished | RungReached | TrialFinished
        total, longest, last, is_proposed, is_searching = 0.0, 0.0, 0.0, False, False
        for event in self.events:
            if isinstance(event, StudyStarted | StudyResumed):
                last, is_proposed, is_searching = event.time, False, False
            elif isinstance(event, kinds) and event.trial in trials:
                if not is_searching:
                    if isinstance(event, TrialStarted):
                        last, is_proposed = last if is_proposed else event.time, True
                        continue
                    last = max(last, event.time - (seconds_told(event) or math.inf))
                is_searching = True
                if isinstance(event, EpochFinished):
                    longest = max(longest, event.record.train_seconds + event.record.evaluate_seconds)
                most = max(_SLEEP, _EPOCHS * longest)  # clocks are set, and machines sleep
                if isinstance(event, RungReached):  # a compressed run tells nothing before its end
                    most = math.inf
                if isinstance(event, TrialFinished):  # nor does one whose first epoch takes too long
                    most = max(most, event.seconds)
                total += min(max(event.time - last, 0.0), most)
                last = event.time
            elif not (is_proposed or is_searching):
                last = event.time
        return total

    def _last(self, kind: type[SomeEvent]) -> SomeEvent | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)


def seconds_told(event: Event) -> float | None:
    """How long the work took of which an event tells, just over; infinite where it does not say; None for no work."""
    match event:
        case EpochFinished(record=record):
            return record.train_seconds + record.evaluate_seconds
        case RungReached():
            return math.inf
        case TrialFinished(seconds=seconds):
            return seconds or None
        case _:
            return None


def check_goes_on(
    history: History, config: StudyConfig, task_fingerprint: str | None = None, test_fingerprint: str = ""
) -> tuple[str, ...]:
    """Whether a study may go on with this configuration and data set.

    Args:
        history: the study's.
        config: the configuration.
        task_fingerprint: of the data set; None before it is read.
        test_fingerprint: of its test split.

    Returns:
        What differs from before and may, such as `search.trials: 24 -> 48`.

    Raises:
        StudyError: something differs that its trials depend on; the message says what.
    """
    start = history.start
    if start.provenance.autockd != __version__:
        raise StudyError(
            f"{config.name} was begun with autockd {start.provenance.autockd}, and this is {__version__}: trials of "
            f"both would not be comparable; go on with that version, or start a new study"
        )
    wrong = []
    if task_fingerprint is not None and task_fingerprint != start.task_fingerprint:
        wrong = [f"the data set: its fingerprint was {start.task_fingerprint[:12]}, now it is {task_fingerprint[:12]}"]
    if test_fingerprint and start.test_fingerprint not in ("", test_fingerprint):
        wrong += [f"its test split: that had {start.test_fingerprint[:12]}, now it has {test_fingerprint[:12]}"]
    changes = check_changes(history, config, wrong)
    _refuse_another_pick(history, config)
    if history.test_opened and (more := history.asked_for_more(config)):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(history.test_opened.time))
        raise StudyError(
            f"{more}: {config.name} opened its test split at {when}; trials and finalists after that would be chosen "
            "by people who have seen it. Start a new study for more of them"
        )
    return changes


def _refuse_another_pick(history: History, config: StudyConfig) -> None:
    """Which student is exported was decided, by `export.pick` too, when the test split was opened for it."""
    if history.test_opened and config.export.pick != history.config.export.pick:
        raise StudyError(
            f"export.pick: {config.name} has chosen its student by {history.config.export.pick!r}, and opened its test "
            "split; go on with that, and have `autockd export` write another student by its --pick"
        )


def check_data(history: History, task: Task, held_out: HeldOut) -> None:
    """See to it that the data are what they were when a study's students were trained and tested.

    Raises:
        StudyError: they are not.
    """
    start = history.start
    opened = history.test_opened
    tested = opened.test_fingerprint if opened else start.test_fingerprint
    pairs = [("data set", start.task_fingerprint, task.fingerprint), ("test split", tested, held_out.fingerprint)]
    for what, before, now in pairs:
        if before and before != now:
            raise StudyError(
                f"{start.study}: its {what} has changed (its fingerprint was {before[:12]}, now it is {now[:12]}), so "
                "that its students would be described wrongly; put back the data that it was begun with"
            )


def check_changes(history: History, config: StudyConfig, others: Sequence[str] = ()) -> tuple[str, ...]:
    """Whether a configuration changes no trial of a study.

    Args:
        history: the study's.
        config: the configuration.
        others: what else has changed and may not.

    Returns:
        What differs from before and may, such as `search.trials: 24 -> 48`.

    Raises:
        StudyError: something differs that its trials depend on; the message says what.
    """
    changes = _changes(history.config, config)
    wrong = [*(text for field, text in changes.items() if not may_change(field)), *others]
    if config.compare:
        wrong += [f"{text} (each compared method has its share already)" for text in _budgets(changes)]
    if wrong:
        raise StudyError(
            f"{config.name} cannot go on, for its trials would not be comparable with those before; changed:\n"
            + "\n".join(f"  {text}" for text in wrong)
            + "\nput it back, or begin a new study, with `name=...` added to the command that began this one"
        )
    return tuple(changes.values())


def moves(history: History, config: StudyConfig) -> tuple[str, ...]:
    """The changes that say where something lies now, such as `task.path: /old/photos -> /new/photos`."""
    return tuple(text for field, text in _changes(history.config, config).items() if field in MOVED)


def with_moves(history: History, config: StudyConfig) -> StudyConfig:
    """The configuration that the study ran with, but for where `config` says that its data and given weights lie."""
    before, now = _data(history.config), _data(config)
    for field in MOVED:
        *sections, name = field.split(".")
        old, new = before, now
        for section in sections:
            old, new = old.get(section) or {}, new.get(section) or {}
        if name in old and name in new:
            old[name] = new[name]
    return StudyConfig.model_validate(before)


def _budgets(changes: Mapping[str, str]) -> list[str]:
    """What would give compared methods more than those had that were searched before them."""
    return [changes[field] for field in _SHARED if field in changes]


def _data(config: StudyConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


def differences(before: StudyConfig, now: StudyConfig) -> dict[str, tuple[Any, Any]]:
    """Every field that differs, by its dotted name: what it was, and what it is now."""
    return dict(_differences(_data(before), _data(now)))


def _changes(before: StudyConfig, now: StudyConfig) -> dict[str, str]:
    """Every field that differs, as `name: before -> now`."""
    return {field: f"{field}: {old} -> {new}" for field, (old, new) in differences(before, now).items()}


def _differences(before: Any, now: Any, field: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            name = f"{field}.{key}" if field else str(key)
            yield from _differences(before.get(key), now.get(key), name)
    elif before != now:
        yield field, (before, now)


def may_change(field: str) -> bool:
    """Whether a study that goes on may have another value of a field, by its dotted name: no trial depends on it."""
    if any(field == name or field.startswith(f"{name}.") for name in MUST_STAY):
        return False
    return any(field == name or field.startswith(f"{name}.") for name in MAY_CHANGE)
