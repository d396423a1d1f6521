"""Who hears of an event, in which order, and what nobody hears."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from autockd.errors import EnvironmentProblem
from autockd.folders import LEDGER
from autockd.recorder import Recorder
from autockd.records import Event, Noted
from autockd.tracking import Ledger, events


@dataclass
class Audience:
    """The sink and the watcher of a recorder: notes who hears what, and how many events are on disk by then."""

    path: Path
    heard: list[tuple[str, Event, int]] = field(default_factory=list)
    is_started: bool = False

    def start(self) -> None:
        self.is_started = True

    def submit(self, event: Event) -> None:
        assert self.is_started, "a sink takes nothing before it is started"
        self.heard.append(("sink", event, len(events(self.path))))

    def watch(self, event: Event) -> None:
        self.heard.append(("watcher", event, len(events(self.path))))


@pytest.fixture
def audience(tmp_path: Path) -> Audience:
    return Audience(tmp_path / LEDGER)


@pytest.fixture
def recorder(audience: Audience) -> Iterator[Recorder]:
    with Ledger(audience.path) as ledger:
        yield Recorder(ledger, audience, audience.watch)  # type: ignore[arg-type]


def warning(text: str) -> Noted:
    return Noted(time=1.0, kind="warning", text=text)


def test_an_event_is_on_disk_before_the_sink_hears_of_it_and_then_the_watcher(
    recorder: Recorder, audience: Audience
) -> None:
    first, second = warning("one"), warning("two")
    recorder.record(first)
    recorder.record(second)
    assert audience.heard == [("sink", first, 1), ("watcher", first, 1), ("sink", second, 2), ("watcher", second, 2)]
    assert events(audience.path) == [first, second]


def test_nobody_hears_of_an_event_that_is_not_on_disk(
    recorder: Recorder, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        with pytest.raises(EnvironmentProblem, match="ledger: cannot write"):
            recorder.record(warning("one"))
    assert audience.heard == []
    assert not audience.is_started, "a study that never was is none in MLflow"
    assert events(audience.path) == []


def test_a_harmless_error_is_told_in_one_warning(recorder: Recorder, audience: Audience) -> None:
    with recorder.harmless("the plan was not drawn"):
        pass
    assert audience.heard == []
    with recorder.harmless("the plan was not drawn"):
        raise OSError(errno.EROFS, "Read-only file system")
    (told,) = events(audience.path)
    assert isinstance(told, Noted)
    assert (told.kind, told.text) == ("warning", "the plan was not drawn (Read-only file system)")
    assert [(who, event) for who, event, _ in audience.heard] == [("sink", told), ("watcher", told)]
    with recorder.harmless("the report was not written"):
        raise KeyError("arm")
    told = events(audience.path)[-1]
    assert isinstance(told, Noted)
    assert told.text == "the report was not written (KeyError: 'arm')", "what is a bug is told as one"


def test_a_credential_is_masked_for_everybody(
    recorder: Recorder, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse-battery")
    recorder.warn("https://ada:another-secret@mlflow refuses correct-horse-battery")
    on_disk = audience.path.read_text(encoding="utf-8")
    shown = [event.text for _, event, _ in audience.heard if isinstance(event, Noted)]
    assert shown == ["https://***@mlflow refuses ***"] * 2
    assert "https://***@mlflow refuses ***" in on_disk
    assert "secret" not in on_disk
    assert "horse" not in on_disk
