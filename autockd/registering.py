"""From a finished study's bundle to MLflow's model registry; whatever happens there, the study is finished."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from autockd.errors import unexpected
from autockd.export import load_bundle
from autockd.folders import BUNDLE, LEDGER, study_argument
from autockd.history import History
from autockd.recorder import Recorder
from autockd.records import Exported
from autockd.tracking import events
from autockd.tracking.mlflow_fields import study_id
from autockd.tracking.mlflow_registry import Candidate, Registration, register
from autockd.tracking.mlflow_store import unhurried
from autockd.tracking.redaction import redact

_SECONDS = 60.0
"""What a study that is finished waits for the registry; who asks for that alone waits as long as it takes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a bundle in the registry.

    Attributes:
        text: that, in a sentence; empty for a study without a bundle to register.
        is_new: whether it was registered now.
        failed: whether it is to be tried again.
    """

    text: str = ""
    is_new: bool = False
    failed: bool = False


def register_finished(folder: Path, uri: str, experiment: str, recorder: Recorder) -> None:
    """Register the bundle of a study that has just ended, if it has; tell what became of it."""
    outcome = register_bundle(folder, uri, experiment, patience=_SECONDS)
    if outcome.failed:
        recorder.warn(outcome.text)
    elif outcome.is_new:
        recorder.show(outcome.text)  # the ledger ended with the study, and MLflow has the reason


def register_bundle(folder: Path, uri: str, experiment: str, *, patience: float | None = None) -> Outcome:
    """Make a finished study's bundle a version of its task's registered model; a second time changes nothing.

    Args:
        folder: of the study, whose runs MLflow has.
        uri: MLflow's tracking URI.
        experiment: name of its experiment, and of the registered model.
        patience: seconds after which it is left unregistered; None waits.

    A server without a registry, or one that is gone, is told of in the outcome.

    Raises:
        StudyError: the ledger is damaged.
    """
    history = History(events(folder / LEDGER))
    exported = history.exported
    if exported is None or not history.is_finished:
        return Outcome()
    try:
        candidate = _candidate(folder, history, exported)
        if isinstance(candidate, str):
            return Outcome(candidate)
        with unhurried():
            found = _within(patience, uri, experiment, candidate)
    except Exception as error:  # whatever MLflow, a driver or the network raises, the study is finished
        reason = unexpected(error)
    else:
        return Outcome(str(found), is_new=found.is_new)
    return Outcome(
        f"MLflow's model registry at {redact(uri)} did not take the bundle ({redact(reason)}); try again with "
        f"`autockd sync {study_argument(folder)}`",
        failed=True,
    )


def _candidate(folder: Path, history: History, exported: Exported) -> Candidate | str:
    """The bundle that the study wrote at its end, or why it cannot be registered.

    Raises:
        ExportError: it is damaged.
    """
    bundle = load_bundle(folder / BUNDLE if (folder / BUNDLE).is_dir() else Path(exported.bundle))
    if bundle.manifest_hash != exported.manifest_hash:
        return f"nothing new to register in MLflow: {bundle.folder} is not the bundle that the study wrote at its end"
    if bundle.onnx_path is None:
        return "not registered in MLflow: the bundle has no ONNX model (export.onnx is false)"
    start, opened = history.start, history.test_opened
    return Candidate(
        study=start.study,
        study_id=study_id(start),
        trial=exported.trial,
        seed=exported.seed,
        folder=bundle.folder,
        manifest_hash=bundle.manifest_hash,
        model=bundle.onnx_path,
        example=bundle.student.example(),
        metric=bundle.config.metric,
        direction=bundle.config.direction,
        test=bundle.config.test,
        test_mean=bundle.config.seeds.test_mean if bundle.config.seeds else None,
        test_fingerprint=opened.test_fingerprint if opened else "",
    )


def _within(seconds: float | None, uri: str, experiment: str, candidate: Candidate) -> Registration:
    """Register it in a thread that is left to itself when time is over.

    Raises what registering raises, and:
        TimeoutError: it took longer.
    """
    found: list[Registration] = []
    problems: list[Exception] = []

    def work() -> None:
        try:
            found.append(register(uri, experiment, candidate))
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=work, name="mlflow-registry", daemon=True)
    thread.start()
    thread.join(seconds)
    if problems:
        raise problems[0]
    if not found:
        raise TimeoutError("no answer" if seconds is None else f"no answer in {seconds:g} s")
    return found[0]
