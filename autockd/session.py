"""One stretch of a study's life: from its beginning, or from where it was stopped, to its end or to the next stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autockd.config.saving import save_study
from autockd.config.schema import StudyConfig
from autockd.errors import StudyError
from autockd.folders import CONFIG, LEDGER, study_argument
from autockd.history import History
from autockd.recorder import Recorder
from autockd.records import Event, StudyResumed, StudyStarted
from autockd.registering import register_finished
from autockd.report.studies import summary_of
from autockd.search.halt import Halt, forget_request
from autockd.summary import StudySummary
from autockd.text import plural
from autockd.tracking import Ledger, MlflowSink, SinkSummary, redact
from autockd.tracking.ledger import events, in_use
from autockd.tracking.redaction import without_secrets
from autockd.tracking.whereabouts import former_store, store_name


@dataclass(frozen=True)
class Session:
    """What every stage of a study works with.

    Attributes:
        config: the study.
        folder: its folder, which this process alone writes to.
        recorder: writes events down.
        history: what happened before this session.
        halt: says when to stop.
        sink: the way into MLflow; None for a study that is not tracked there.
        store: the MLflow that it is written to, without credentials; empty for none.
        former: what to say where that is another than before; empty otherwise.
    """

    config: StudyConfig
    folder: Path
    recorder: Recorder
    history: History
    halt: Halt
    sink: MlflowSink | None = None
    store: str = ""
    former: str = ""

    @property
    def summary(self) -> StudySummary:
        """What the ledger says now."""
        return summary_of(self.folder / LEDGER)

    def begin(self, event: StudyStarted | StudyResumed) -> None:
        """Record that the study starts, or goes on, and in which MLflow; warn where that is another than before."""
        self.recorder.record(event.model_copy(update={"tracking_uri": self.store}))
        if self.former:
            self.recorder.warn(self.former)

    def catch_up(self) -> None:
        """Bring MLflow to where the ledger was when this session began, though nothing more may be written to it."""
        if self.sink is not None:
            if self.former:
                self.recorder.show(self.former)
            for event in self.history.events:
                self.sink.submit(event)
            self.sink.start()


@contextmanager
def open_session(
    config: StudyConfig, folder: Path, watch: Callable[[Event], None], uri: str | None, experiment: str, *, resume: bool
) -> Iterator[Session]:
    """Take a study's ledger, and write to MLflow what is written to it, until the session ends.

    A session in which nothing happens, because the study may not go on, leaves MLflow alone. A signal that asks to stop
    ends what is going on, MLflow's last part too, with a KeyboardInterrupt; while trials run, that waits until they are
    kept.

    Args:
        config: the study.
        folder: its folder.
        watch: is given every event once it is on disk.
        uri: MLflow's tracking URI; None for a study that is not tracked there.
        experiment: name of the MLflow experiment.
        resume: whether the study may have a history.

    Raises:
        StudyError: another process has the study, or it has a history and may not.
        ConfigError: a new study's configuration holds a credential.
    """
    if not in_use(folder / LEDGER):
        forget_request(folder)
    with Ledger(folder / LEDGER) as ledger, ExitStack() as at_the_end:
        at_the_end.callback(forget_request, folder)
        history = History(events(folder / LEDGER))
        if history and not resume:
            raise StudyError(
                f"{folder}: this study has begun already; go on with `autockd resume {study_argument(folder)}`, "
                "or begin another with `name=...` added to the command"
            )
        if not history:
            save_study(without_secrets(config), folder / CONFIG)  # over that of whoever came in between
        sink = MlflowSink(uri, experiment, config.name, ledger=folder / LEDGER) if uri else None
        recorder = Recorder(ledger, sink, watch)
        store, former = (store_name(uri), _former_text(history, uri)) if uri else ("", "")
        session = Session(config, folder, recorder, history, Halt(folder, recorder.show), sink, store, former)
        at_the_end.enter_context(session.halt.listening())
        try:
            recorder.artifact(folder / CONFIG)
            yield session
        finally:
            if sink is not None and sink.has_begun:
                told = sink.close()
                if told.warning:
                    recorder.warn(told.warning)
                if missing := missing_text(told):
                    recorder.warn(
                        f"MLflow at {redact(uri or '')} misses {missing}; bring them there with "
                        f"`autockd sync {study_argument(folder)}`"
                    )
                else:
                    register_finished(folder, uri or "", experiment, recorder)


def _former_text(history: History, uri: str) -> str:
    former = former_store(history.events, uri)
    if not former:
        return ""
    return (
        f"this study was written to MLflow at {former}; from here on it is written to {store_name(uri)}, which gets "
        "all of it. MLFLOW_TRACKING_URI, or tracking.uri, says where"
    )


def missing_text(told: SinkSummary) -> str:
    """What MLflow did not take, and why; empty where it has everything."""
    counts = {"event": told.missed, "file": len(told.artifacts_missed)}
    missing = [plural(count, what) for what, count in counts.items() if count]
    why = told.last_error or "there was no time left for more"
    return f"{' and '.join(missing)} ({why})" if missing else ""
