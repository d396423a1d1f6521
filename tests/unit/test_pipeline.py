"""What is settled before a study starts anything, and what is swept away at its end."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from sample_records import PROVENANCE, study_started

from autockd import __version__
from autockd.checking import check_study
from autockd.config import StudyConfig, parse_study
from autockd.errors import EnvironmentProblem, ExportError, Interrupted, NoTrialSucceeded, StudyError
from autockd.folders import BUNDLE, CHECKPOINT, CONFIG, LEDGER, REPORT, study_argument
from autockd.history import History
from autockd.pipeline import _export, _sweep, journal_name, run_study
from autockd.records import Event, Exported, StudyFinished, StudyStarted, TrialFinished, TrialStarted
from autockd.study import ignore
from autockd.tracking import Ledger

STUDY = """\
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
"""


RANDOM = "0123456789ab"
LEFT_BY_A_RUN = (CHECKPOINT, f".{CHECKPOINT}.{RANDOM}", f".best.safetensors.{RANDOM}")


def study(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "study.yaml", Path.cwd(), overrides)


def test_a_change_that_may_not_be_is_refused_before_data_are_read_and_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.append(
            StudyStarted(
                time=1.0,
                study="s",
                config=study().model_dump(mode="json"),
                config_hash="c",
                metric="accuracy",
                direction="maximize",
                task_fingerprint="data",
                provenance=PROVENANCE.model_copy(update={"autockd": __version__}),
            )
        )
    before = (tmp_path / LEDGER).read_bytes()

    def start(*_: object) -> NoReturn:
        raise AssertionError("nothing may be started")

    monkeypatch.setattr("autockd.pipeline.cluster", start)
    with pytest.raises(StudyError, match="seed: 0 -> 1"):
        run_study(study("seed=1"), tmp_path, ignore, uri=None, experiment="digits", resume=True)
    assert (tmp_path / LEDGER).read_bytes() == before


def test_a_trial_that_does_not_fit_is_refused_before_the_study_begins(tmp_path: Path) -> None:
    """So that its name is not taken, and the file may be mended."""
    config = study("resources.cpus_per_trial=512", "search.trials=2")
    with pytest.raises(EnvironmentProblem, match=r"lower resources\.cpus_per_trial"):
        run_study(config, tmp_path, ignore, uri=None, experiment="e")
    assert (tmp_path / LEDGER).stat().st_size == 0
    (warning,) = (line for line in check_study(config) if line.startswith("warning: on"))
    assert "on this machine a trial needs 512 CPU cores" in warning


def test_a_study_that_is_stopped_before_it_began_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing that `autockd resume` could go on with."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("autockd.pipeline.cluster", lambda *_: nullcontext())
    monkeypatch.setattr("autockd.pipeline.load_task", stop)
    with pytest.raises(Interrupted, match=r": stopped before it began; start it again with the same command$"):
        run_study(study("search.trials=2"), tmp_path, ignore, uri=None, experiment="digits")
    assert (tmp_path / LEDGER).read_bytes() == b""


class Sink:
    """Leads nowhere, and ends with Ctrl-C."""

    has_begun = True

    def __init__(self, *_: object, **__: object) -> None: ...

    def start(self) -> None: ...

    def submit(self, event: Event) -> None: ...

    def log_artifact(self, path: Path) -> None: ...

    def close(self) -> NoReturn:
        press()


def press(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError("it is heard at once")


@pytest.mark.parametrize(("where", "missing"), [("report", "its report"), ("MLflow", "the last of it in MLflow")])
def test_the_first_interrupt_after_a_studys_end_is_told_as_such(
    where: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a second one, to end the process there and then, is not reached."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    config = study()
    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.append(study_started(config))
        ledger.append(
            StudyFinished(time=1.0, complete=1, pruned=0, failed=0, best_trial=None, best_value=None, seconds={})
        )
    monkeypatch.setattr("autockd.session.MlflowSink", Sink)
    if where == "report":
        monkeypatch.setattr("autockd.pipeline.write_report", press)
    uri = "http://nowhere" if where == "MLflow" else None
    try:
        with pytest.raises(
            Interrupted, match=rf": finished, and .* end: {missing} may be missing\ngo on with: autockd resume"
        ):
            run_study(config, tmp_path, ignore, uri=uri, experiment="digits", resume=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == []


class Shipping:
    """A session whose search is over, and an `export_trial` that fails for some models."""

    def __init__(self, config: StudyConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, **problems: str) -> None:
        """`problems` are what it fails with: with `int8`, with `onnx` alone, and with `neither`."""
        self.asked: list[str] = []
        self.exported = Exported(time=1.0, trial=1, bundle="bundle", manifest_hash="m")
        self.events: list[Event] = []
        self.warnings: list[str] = []
        recorder = SimpleNamespace(
            record=self.events.append, warn=self.warnings.append, stage=lambda name: nullcontext()
        )
        self.session: Any = SimpleNamespace(config=config, folder=folder, recorder=recorder, history=History())

        def export_trial(*_: object, onnx: bool, int8: bool, **__: object) -> Exported:
            self.asked.append("int8" if int8 else "onnx" if onnx else "neither")
            if self.asked[-1] in problems:
                raise ExportError(problems[self.asked[-1]])
            return self.exported

        monkeypatch.setattr("autockd.pipeline.row_to_export", lambda *_: (object(), ""))
        monkeypatch.setattr("autockd.pipeline.winner", lambda *_: (object(), None))
        monkeypatch.setattr("autockd.pipeline.export_trial", export_trial)

    def ship(self) -> str:
        nothing: Any = None
        return _export(self.session, nothing, nothing, nothing)


@pytest.mark.parametrize(
    ("int8", "problems", "asked", "warning"),
    [
        (False, {}, ["onnx"], None),
        (False, {"onnx": "no such operation"}, ["onnx", "neither"], "ONNX: no such operation"),
        (True, {"int8": "not as good"}, ["int8", "onnx"], "an int8 model: not as good"),
        (True, {"int8": "no", "onnx": "no operation"}, ["int8", "onnx", "neither"], "ONNX: no operation"),
    ],
)
def test_a_student_is_exported_without_what_it_cannot_have(
    int8: bool,
    problems: dict[str, str],
    asked: list[str],
    warning: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipping = Shipping(study(f"export.int8={int8}".lower()), tmp_path, monkeypatch, **problems)
    assert shipping.ship() == ""
    assert shipping.asked == asked
    assert shipping.events == [shipping.exported]
    assert shipping.warnings == ([f"the student is exported without {warning}"] if warning else [])


@pytest.mark.parametrize("onnx", [True, False])
def test_an_export_that_fails_all_the_same_is_told_and_the_study_ends(
    onnx: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(f"export.onnx={onnx}".lower())
    shipping = Shipping(config, tmp_path, monkeypatch, onnx="no", neither="the bundle gives other answers")
    again = f"autockd export {study_argument(tmp_path)}"
    assert shipping.ship() == f"the bundle gives other answers\nnothing is exported; once that is mended: {again}"
    assert shipping.asked == (["onnx", "neither"] if onnx else ["neither"])
    assert shipping.events == shipping.warnings == []


STARTED = TrialStarted(
    time=2.0, trial=0, role="sampled", method="kd", params={}, config={}, fingerprint="t", conventions="L = CE"
)


def test_a_finished_study_without_a_bundle_says_so_each_time(tmp_path: Path) -> None:
    config = study()
    with Ledger(tmp_path / LEDGER) as ledger:
        for event in (
            study_started(config),
            STARTED,
            TrialFinished(time=3.0, trial=0, state="complete", value=0.9, best_epoch=1, epochs=1, seconds=1.0),
            StudyFinished(time=4.0, complete=1, pruned=0, failed=0, best_trial=0, best_value=0.9, seconds={}),
        ):
            ledger.append(event)
    for _ in range(2):
        with pytest.raises(ExportError, match=r"finished, and nothing is exported -> autockd export \S+$"):
            run_study(config, tmp_path, ignore, uri=None, experiment="digits", resume=True)
    (tmp_path / BUNDLE).mkdir()
    assert run_study(config, tmp_path, ignore, uri=None, experiment="digits", resume=True).best_trial == 0


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "the search's time is over (10 s)",
            r"is over \(10 s\) -> autockd resume \S+ --time-budget TIME",
        ),
        ("the loss became nan", "the loss became nan$"),
    ],
)
def test_a_search_without_a_student_says_how_to_give_it_more_time_if_that_was_short(
    reason: str, said: str, tmp_path: Path
) -> None:
    config = study("search.time_budget=10s")
    ended = {"state": "pruned", "epochs": 0, "seconds": 0.0, "reason": reason}
    with Ledger(tmp_path / LEDGER) as ledger:
        for event in (
            study_started(config),
            STARTED,
            TrialFinished.model_validate({"time": 3.0, "trial": 0, **ended}),
            StudyFinished(time=4.0, complete=0, pruned=1, failed=0, best_trial=None, best_value=None, seconds={}),
        ):
            ledger.append(event)
    with pytest.raises(NoTrialSucceeded, match=said):
        run_study(config, tmp_path, ignore, uri=None, experiment="digits", resume=True)


def test_drafts_and_checkpoints_go_at_the_end_and_what_a_study_found_stays(tmp_path: Path) -> None:
    found = {
        *(CONFIG, LEDGER, f"{LEDGER}.lock", journal_name(), journal_name("kd"), "plan.png", ".mine"),
        *(f".{CONFIG}.swp", "teacher/.git/config"),
        *(f"{BUNDLE}/model.safetensors", f"{BUNDLE}/manifest.json", f"{REPORT}/report.html"),
        *("teacher/model.safetensors", "assistant/model.safetensors", "costs/ab.json"),
        *(f"trials/0001/{name}" for name in ("best.safetensors", "trace.json", "hang.txt")),
        "finalists/0001-7/best.safetensors",
    }
    left_behind = {
        *(f".{BUNDLE}.0123456789ab.partial/model.safetensors", f".{BUNDLE}.0123456789ab.old/manifest.json"),
        *(f".{CONFIG}.{RANDOM}", f".{REPORT}.{RANDOM}.partial/report.html", f".{REPORT}.{RANDOM}.old/report.html"),
        *(f"teacher/.model.safetensors.{RANDOM}", "teacher/.draft-ab_9xyz0/config.json"),
        *(f"assistant/.model.safetensors.{RANDOM}", f"costs/.ab.json.{RANDOM}"),
        *(f"{run}/{name}" for run in ("trials/0000", "trials/0001", "finalists/0001-7") for name in LEFT_BY_A_RUN),
    }
    for name in found | left_behind:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    _sweep(tmp_path)
    there = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path)) for path in there} == found
    assert all(path.read_text() == str(path.relative_to(tmp_path)) for path in there)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == {".mine", f".{CONFIG}.swp"}


def test_nothing_is_swept_that_a_link_leads_to(tmp_path: Path) -> None:
    study, home = tmp_path / "study", tmp_path / "home"
    kept = [home / f".notes.{RANDOM}", home / CHECKPOINT, home / "assistant" / f".notes.{RANDOM}"]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (study / "trials").mkdir(parents=True)
    (study / "trials" / "0000").symlink_to(home)
    (study / "teacher").symlink_to(home)
    (study / "assistant").symlink_to(home / "assistant")
    (study / f".{BUNDLE}.{RANDOM}.partial").symlink_to(home)
    _sweep(study)
    assert [path.read_text() for path in kept] == ["mine"] * 3
    assert not (study / f".{BUNDLE}.{RANDOM}.partial").is_symlink()
