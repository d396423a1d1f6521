"""One stretch of a study's life: from its beginning, or from where it was stopped, to its end or to the next stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autockd.config.schema import StudyConfig
from autockd.errors import StudyError
from autockd.exporting import LEDGER
from autockd.history import History
from autockd.recorder import Recorder
from autockd.records import Event
from autockd.report import StudySummary, summary_of
from autockd.search.halt import Halt
from autockd.tracking import Ledger, MlflowSink, redact

CONFIG = "study.yaml"


@dataclass(frozen=True)
class Session:
    """What every stage of a study works with.

    Attributes:
        config: the study.
        folder: its folder, which this process alone writes to.
        recorder: writes events down.
        history: what happened before this session.
        halt: says when to stop.
    """

    config: StudyConfig
    folder: Path
    recorder: Recorder
    history: History
    halt: Halt

    @property
    def summary(self) -> StudySummary:
        """What the ledger says now."""
        return summary_of(self.folder / LEDGER)


@contextmanager
def open_session(
    config: StudyConfig, folder: Path, watch: Callable[[Event], None], uri: str | None, experiment: str, *, resume: bool
) -> Iterator[Session]:
    """Take a study's ledger, and write to MLflow what is written to it, until the session ends.

    Args:
        config: the study.
        folder: its folder.
        watch: is given every event once it is on disk.
        uri: MLflow's tracking URI; None for a study that is not tracked there.
        experiment: name of the MLflow experiment.
        resume: whether the study may have a history.

    Raises:
        StudyError: another process has the study, or it has a history and may not.
    """
    with Ledger(folder / LEDGER) as ledger:
        history = History(list(ledger.read()))
        if history and not resume:
            raise StudyError(
                f"{folder}: this study has begun already; go on with `autockd resume {config.name}`, or start another "
                "with `autockd run FILE name=...`"
            )
        sink = MlflowSink(uri, experiment, config.name, ledger=folder / LEDGER) if uri else None
        recorder = Recorder(ledger, sink, watch)
        session = Session(config, folder, recorder, history, Halt(folder))
        if sink is None:
            yield session
            return
        with recorder.stage("tracking"):
            sink.start()
        try:
            recorder.artifact(folder / CONFIG)
            yield session
        finally:
            told = sink.close()
            if told.missed or told.artifacts_missed:
                recorder.warn(
                    f"MLflow at {redact(uri or '')} misses {told.missed} events ({told.last_error}); bring them there "
                    f"with `autockd sync {config.name}`"
                )
