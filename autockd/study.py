"""A study from its YAML file to its bundle: all that the command line and scripts call.

A study is a folder. Its ledger is the truth; everything else in it can be rebuilt or is named by the ledger.

    <studies>/<name>/study.yaml      the configuration, every default written out
                     ledger.jsonl    every event, in order
                     optuna.journal  the sampler's memory (of a comparison optuna.METHOD.journal, one for each)
                     teacher/        the teacher's weights; assistant/ those of a net in between
                     trials/NNNN/    best.safetensors
                     finalists/NNNN-SEED/    the same of finalists' runs
                     costs/          latency and size of students, where these are searched
                     bundle/         the exported student
                     *.png           pictures of the schedules
                     report/         report.html, its pictures, the numbers as JSON and CSV
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from autockd.config.loading import parse_study, read_file, refuse_mistakes, with_absolute_paths
from autockd.config.saving import refuse_foreign, save_study
from autockd.config.schema import StudyConfig
from autockd.errors import ConfigError, EnvironmentProblem, StudyError, reason_of, unexpected
from autockd.folders import BUNDLE, CONFIG, LEDGER, REPORT, cache_folder, studies_folder, study_argument
from autockd.garbage import looking_seldom
from autockd.namesakes import about_namesake, has_begun
from autockd.records import Event, StudyStarted
from autockd.report.studies import list_studies, no_such_study, summary_of
from autockd.summary import StudySummary
from autockd.tracking.redaction import without_secrets

if TYPE_CHECKING:
    from autockd.config.tasks import TaskConfig
    from autockd.export.evaluation import Evaluation, RuntimeName
    from autockd.report.content import ReportContent
    from autockd.report.preview import Preview
    from autockd.tracking import SinkSummary

_POLL_SECONDS = 0.2


def ignore(event: Event) -> None:
    """A watcher that does not look."""


class Study:
    """One study: a configuration with a folder."""

    def __init__(self, config: StudyConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder

    @property
    def name(self) -> str:
        """Its name, which is its folder's."""
        return self.config.name

    @property
    def is_running(self) -> bool:
        """Whether a process, here or elsewhere, runs it now."""
        from autockd.tracking.ledger import in_use

        return in_use(self.folder / LEDGER)

    @classmethod
    def create(cls, config: StudyConfig, studies: str | Path | None = None) -> Self:
        """Make the folder of a new study; relative paths in its configuration count from the current folder.

        Args:
            config: from `autockd.config.load_study`.
            studies: folder of all studies; None is that of the command line, $AUTOCKD_STUDIES or `studies`.

        Raises:
            ConfigError: fields of it do not go together.
            StudyError: there is a study of this name that has begun, or files that the study would write over.
            EnvironmentProblem: the folder cannot be written.
        """
        refuse_mistakes(config)
        config = with_absolute_paths(without_secrets(config), Path.cwd())
        folder = Path(studies or studies_folder()).absolute() / config.name
        if has_begun(folder):
            raise StudyError(f"{folder}: {about_namesake(config, folder)}")
        refuse_foreign(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if cls(config, folder).is_running:
                raise StudyError(
                    f"{folder}: a study of this name runs now; stop it with `autockd stop {study_argument(folder)}`, "
                    f"or give the new one another name (`name={config.name}-2` added to the command)"
                )
            save_study(config, folder / CONFIG)
        except OSError as error:
            raise EnvironmentProblem(
                f"{folder}: the study's folder cannot be written ({reason_of(error)}); "
                "choose another with --studies or AUTOCKD_STUDIES"
            ) from error
        return cls(config, folder)

    @classmethod
    def open(cls, name: str | Path, studies: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """An existing study, by its name or its folder.

        Args:
            name: its name in `studies`, or its folder.
            studies: folder of all studies, as of `create`.
            overrides: `dotted.key=value` changes to its configuration, such as a time budget to go on with.

        Raises:
            StudyError: there is none.
            ConfigError: its file cannot be read, or an override breaks a rule.
        """
        studies = Path(studies or studies_folder())
        candidates = [studies.absolute() / name, Path(name).absolute()]
        folder = next((path for path in candidates if (path / CONFIG).is_file()), None)
        if folder is None:
            raise no_such_study(name, studies)
        text = read_file(folder / CONFIG)
        config = parse_study(text, str(folder / CONFIG), folder, overrides, is_begun=True)
        return cls(without_secrets(config) if overrides else config, folder)

    @looking_seldom()
    def run(self, watch: Callable[[Event], None] = ignore) -> StudySummary:
        """Train the teacher, search, run the finalists again, evaluate them on the test split, export the best.

        Args:
            watch: is given every event once it is on disk, in the thread that calls this.

        Raises:
            StudyError: this study has run already, or runs now.
            ConfigError, DataError, ModelError: its fields, data or models are not usable.
            EnvironmentProblem: a disk, a device, or Ray is not.
            Interrupted: somebody stopped it; `resume` goes on.
            NoTrialSucceeded: no trial has a usable student.
            ExportError: the best student cannot be exported.
        """
        from autockd.pipeline import run_study

        return run_study(self.config, self.folder, watch, uri=self.mlflow_uri(), experiment=self.experiment)

    @looking_seldom()
    def resume(self, watch: Callable[[Event], None] = ignore) -> StudySummary:
        """Go on after a stop of any kind: finished trials stay, running ones go on from their checkpoints.

        A study that is finished gives its result again, once what a stop kept from coming after its end is made good.

        Raises:
            StudyError: it has not begun, runs now, or its space, data or teacher are not what they were.
            The rest as of `run`.
        """
        from autockd.pipeline import run_study

        self.status()
        uri = self.mlflow_uri()
        return run_study(self.config, self.folder, watch, uri=uri, experiment=self.experiment, resume=True)

    def stop(self, patience: float = 60.0) -> bool:
        """Ask whoever runs this study to stop, wherever that is, and wait until it has.

        Args:
            patience: seconds to wait.

        Returns:
            Whether it has stopped.

        Raises:
            StudyError: nobody runs it.
        """
        from autockd.search.halt import STOP

        if not self.is_running:
            command = f"autockd status {study_argument(self.folder)}"
            raise StudyError(f"{self.name} is not running; `{command}` says how it stands")
        (self.folder / STOP).touch()
        deadline = time.monotonic() + patience
        while self.is_running:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def sync(self, warn: Callable[[str], None] = lambda text: None) -> SinkSummary:
        """Bring MLflow to where the ledger is, with the report as it is now; a second time changes nothing.

        A study that runs brings its events there itself: only files are copied then.

        Args:
            warn: is told where the report cannot be written anew, which keeps nothing else from MLflow.

        Raises:
            ConfigError: the study is not tracked in MLflow.
            StudyError: it has not begun.
            EnvironmentProblem: MLflow cannot be reached.
        """
        from autockd.registering import register_bundle
        from autockd.report.writing import shown_of
        from autockd.tracking import sync

        uri = self.mlflow_uri()
        if uri is None:
            raise ConfigError.of("tracking.enabled", "is false: this study is not in MLflow", "run one with it true")
        self.status()
        try:
            self.report()
        except Exception as error:  # whatever a chart, or a folder that somebody uses for more, has against it
            warn(f"the report was not written anew: {unexpected(error)}")
        files = [self.folder / CONFIG, *sorted(self.folder.glob("*.png")), *shown_of(self.folder / REPORT)]
        found = sync(self.folder / LEDGER, uri, self.experiment, artifacts=files)
        return replace(found, registered=register_bundle(self.folder, uri, self.experiment).text)

    def events(self) -> list[Event]:
        """Everything that its ledger holds; nothing for a study that has not begun.

        Raises:
            StudyError: the ledger is damaged.
        """
        from autockd.tracking.ledger import events

        path = self.folder / LEDGER
        return events(path) if path.exists() else []

    def status(self) -> StudySummary:
        """What the ledger says, now.

        Raises:
            StudyError: the study has not begun.
        """
        return summary_of(self.folder / LEDGER)

    def report(self, to: Path | None = None) -> tuple[Path, ReportContent]:
        """Write the study's report: a page, its pictures, the numbers; whatever state the study is in.

        Args:
            to: its folder, where an older report is replaced; None is the study's `report` folder.

        Returns:
            The folder, and what the report says.

        Raises:
            StudyError: the study has not begun.
            UsageError: `to` exists and is not a report.
            EnvironmentProblem: the folder cannot be written.
        """
        from autockd.report.writing import write_report

        self.status()
        folder = (to or self.folder / REPORT).absolute()
        return folder, write_report(self.events(), folder)

    def export(
        self,
        trial: int | None = None,
        to: Path | None = None,
        *,
        pick: str | None = None,
        onnx: bool | None = None,
        int8: bool | None = None,
        force: bool = False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> Path:
        """Write a trial's student as a bundle.

        Args:
            trial: its number, for the search's own student; None is what the study itself exports: the best finalist's
                best run, or, without finalists, the best trial's student.
            pick: constraints on it, such as `latency_ms <= 2`, where no number is given: the best trial's own student
                among those that fulfil them; None takes what the study exports, and an empty text the best of all.
            to: where to; None is the study's `bundle` folder.
            onnx: whether to write ONNX too; None is what the study says.
            int8: whether to write int8 ONNX too; None is what the study says, as far as there is ONNX.
            warn: is told what the int8 model loses.
            force: whether to replace what lies there.

        Returns:
            The bundle's folder.

        Raises:
            UsageError: both a trial and a pick are given, or the pick cannot be read.
            StudyError: there is no such trial with a student, or the data are not what they were.
            ConfigError: int8 without ONNX.
            DataError: the data set cannot be read.
            ExportError: `to` is taken; the bundle cannot be written, or does not reproduce the student.
        """
        from autockd.data import load_task
        from autockd.export.folders import refuse_if_taken
        from autockd.exporting import chosen_row, export_trial, winner
        from autockd.history import History, check_data

        onnx = self.config.export.onnx if onnx is None else onnx
        if int8 and not onnx:
            raise ConfigError.of("export.int8", "is made from the ONNX model", "write that too, or leave int8 out")
        summary = self.status()
        own = self.config.export.pick
        if trial is None and pick in (None, own):
            row, run = winner(summary, own)
        else:
            row, run = chosen_row(summary, trial, pick or ""), None
        to = to or self.folder / BUNDLE
        refuse_if_taken(to, force=force)
        data = load_task(self.config.task)
        check_data(History(self.events()), *data)
        int8 = onnx and (self.config.export.int8 if int8 is None else int8)
        exported = export_trial(
            self.config, self.folder, row, summary, *data, run=run, to=to, onnx=onnx, int8=int8, force=force, warn=warn
        )
        return Path(exported.bundle)

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.config.tracking.experiment or self.config.task.name.lower()

    def mlflow_uri(self) -> str | None:
        """MLflow's tracking URI: the study's, else the environment's MLFLOW_TRACKING_URI, else a database of its own.

        None if the study is not tracked there.
        """
        from autockd.tracking.mlflow_store import URI_ENV, default_uri

        if not self.config.tracking.enabled:
            return None
        return self.config.tracking.uri or os.environ.get(URI_ENV) or default_uri(self.folder.parent)

    def ui_url(self, port: int = 5000) -> str:
        """Address of this study's page in MLflow's UI: its saved view, or the list of its trials where it has none.

        Args:
            port: of the server that `autockd ui` starts; a server that the study is recorded on has its own address.

        Raises what MLflow and the network raise.
        """
        from autockd.tracking.redaction import redact
        from autockd.tracking.study_page import study_page

        uri = self.mlflow_uri() or ""
        start = next((event for event in self.events() if isinstance(event, StudyStarted)), None)
        site = redact(uri).rstrip("/") if uri.startswith(("http://", "https://")) else f"http://127.0.0.1:{port}"
        return site + study_page(uri, self.experiment, start)


def preview(config: StudyConfig) -> Preview:
    """The schedules of the study's own trial, without data and without a teacher.

    Raises:
        ConfigError: they do not fit into the run.
    """
    from autockd.report.preview import preview as preview_plan

    return preview_plan(config)


def check(config: StudyConfig) -> list[str]:
    """Try everything that a run needs before it trains: data, models, weights, plans.

    Returns:
        What was found, in sentences.

    Raises:
        AutockdError: what is wrong, with its remedy.
    """
    from autockd.checking import check_study

    refuse_mistakes(config)
    return check_study(config)


def evaluate(
    bundle: str | Path,
    data: StudyConfig | TaskConfig | None = None,
    split: str = "test",
    runtime: RuntimeName = "torch",
) -> Evaluation:
    """The metric of a bundle on a split of its own data set, or of another study's.

    Args:
        bundle: the bundle's folder.
        data: a task, or a study, whose task to evaluate on; None takes the data set that the bundle names.
        split: `test`, `validation`, or another test split that the data set has, such as `mismatched`.
        runtime: `torch`, `onnx` or `int8`.

    Raises:
        UsageError: there is no such runtime or split.
        ExportError: the bundle is damaged, or does not fit the data.
        DataError: the data set cannot be read.
    """
    from autockd.exporting import evaluate_on

    return evaluate_on(Path(bundle), data.task if isinstance(data, StudyConfig) else data, split, runtime)


__all__ = ["Study", "cache_folder", "check", "evaluate", "list_studies", "preview", "studies_folder"]
