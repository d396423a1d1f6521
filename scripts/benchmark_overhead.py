"""How much of a search's wall time is not its trials': autockd's search, and plain Ray Tune with its MLflow callback.

.venv/bin/python scripts/benchmark_overhead.py --rounds 2

A trial sleeps for a second and reports twice; everything else is real: Ray, the ledger, Optuna's journal and sampler,
and an MLflow database. Each side runs in a process of its own, one after the other. Overhead is (wall - ideal) / wall:
ideal is trials x seconds / parallel, and wall is from the first trial's first moment until MLflow has everything. What
comes before is shown beside it: the making of MLflow's database, the start of Ray, and that of the first worker.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import tune

from autockd.config.methods import ContinuationKD
from autockd.config.models import CifarResNet
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.provenance import provenance
from autockd.recorder import Recorder
from autockd.records import EpochRecord, StudyStarted, TrialFinished, TrialOutcome, TrialReport
from autockd.search.book import StudyBook
from autockd.search.connection import LOCAL, connection
from autockd.search.halt import Halt
from autockd.search.runner import drive
from autockd.search.trainable import REPORT
from autockd.tracking import Ledger, MlflowSink, default_uri, events

REPORTS = 2
"""Reports of a trial; a worker of autockd makes one every half a second."""

MARK = "began"

SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
    "smoothing_start": {"type": "int", "low": 1, "high": 8},
    "margin_mode": {"type": "choice", "choices": ["relative", "dead_zone"]},
}
Timing = dict[str, float]


def leave_mark(mark: Path) -> None:
    """The first worker says when it is there."""
    with suppress(FileExistsError):
        mark.touch(exist_ok=False)


class Sleeper(tune.Trainable):  # type: ignore[misc]
    """Reports as `autockd.search.trainable.TrialTrainable` does."""

    def setup(self, config: dict[str, Any], *, seconds: float, mark: Path) -> None:
        leave_mark(mark)
        self._pause = seconds / REPORTS
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._number, self._epoch = new_config["number"], 0
        self._value = 1 - abs(new_config["config"]["training"]["learning_rate"] - 0.1)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self._pause)
        self._epoch += 1
        told = {"metric": self._value, "best_metric": self._value, "best_epoch": 1, "loss": 1.0, "hard_loss": 1.0}
        spent = {"train_seconds": self._pause, "evaluate_seconds": 0.0, "samples_per_second": 1.0}
        record = EpochRecord.model_validate({"epoch": self._epoch, "step": self._epoch, **told, **spent})
        outcome = None
        if self._epoch == REPORTS:
            outcome = TrialOutcome(state="complete", value=self._value, best_epoch=1, epochs=self._epoch)
        report = TrialReport(trial=self._number, records=(record,), outcome=outcome)
        return {REPORT: report.model_dump_json(), "done": outcome is not None}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing, as TrialTrainable."""


def sleep(config: dict[str, Any], seconds: float, mark: Path) -> None:
    """The same trial for plain Tune."""
    leave_mark(mark)
    for epoch in range(1, REPORTS + 1):
        time.sleep(seconds / REPORTS)
        value = 1 - abs(config["learning_rate"] - 0.1)
        tune.report({"metric": value, "best_metric": value, "loss": 1.0, "hard_loss": 1.0, "epoch": epoch})


def run_autockd(folder: Path, trials: int, seconds: float, parallel: int) -> Callable[[], None]:
    study = StudyConfig(
        name="overhead",
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet()),
        student=StudentConfig(model=CifarResNet(width=4)),
        method=ContinuationKD(smoothing_start=4, granularity="step"),
        training=TrainingConfig(epochs=REPORTS, learning_rate=0.1),
        search=SearchConfig.model_validate({"space": SPACE, "trials": trials}),
    )
    started = StudyStarted(
        time=time.time(),
        study=study.name,
        config=study.model_dump(mode="json"),
        config_hash="",
        metric="accuracy",
        direction="maximize",
        task_fingerprint="",
        provenance=provenance(Path.cwd()),
    )

    def search() -> None:
        path = folder / "ledger.jsonl"
        with Ledger(path) as ledger:
            sink = MlflowSink(default_uri(folder), "overhead", study.name, ledger=path)
            recorder = Recorder(ledger, sink, lambda event: None)
            recorder.record(started)
            sink.start()
            journal = folder / "optuna.journal"
            book = StudyBook(study, journal, recorder.record, parallel=parallel, direction="maximize")
            trainable = tune.with_parameters(Sleeper, seconds=seconds, mark=folder / MARK)
            drive(book, trainable, {"CPU": 1}, folder, Halt(folder), trials=trials, retries=0)
            missed = sink.close().missed
        assert missed == 0, f"MLflow missed {missed} events"
        states = [event.state for event in events(path) if isinstance(event, TrialFinished)]
        assert states == ["complete"] * trials, f"{len(states)} trials of {trials}, {set(states)}"

    return search


def run_plain(folder: Path, trials: int, seconds: float, parallel: int) -> Callable[[], None]:
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    space = {
        "learning_rate": tune.loguniform(0.01, 0.3),
        "smoothing_start": tune.randint(1, 9),
        "margin_mode": tune.choice(["relative", "dead_zone"]),
    }
    tuner = tune.Tuner(
        tune.with_parameters(sleep, seconds=seconds, mark=folder / MARK),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric="metric", mode="max"), num_samples=trials, max_concurrent_trials=parallel
        ),
        run_config=tune.RunConfig(
            name="plain",
            storage_path=str(folder),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=default_uri(folder), experiment_name="overhead")],
        ),
    )

    def search() -> None:
        assert tuner.fit().num_terminated == trials

    return search


SIDES = {"autockd": run_autockd, "plain Tune": run_plain}


def measure(side: str, trials: int, seconds: float, parallel: int) -> Timing:
    """One side, in this process."""
    import mlflow

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        search = SIDES[side](folder, trials, seconds, parallel)
        began = time.time()
        client = mlflow.MlflowClient(default_uri(folder))
        client.create_experiment("overhead", artifact_location=(folder / "artifacts").as_uri())
        database = time.time()
        with plain_ray() if side == "plain Tune" else connection(LOCAL):
            ready, cpu = time.time(), time.process_time()
            search()
            ended, cpu = time.time(), time.process_time() - cpu
        first = (folder / MARK).stat().st_mtime
        experiment = client.get_experiment_by_name("overhead")
        runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'", max_results=1000)
        assert len(runs) >= trials, f"MLflow has {len(runs)} finished runs of {trials} trials"
    ideal, wall = trials * seconds / parallel, ended - first
    start = {"database": database - began, "ray": ready - database, "worker": first - ready}
    return {"wall": wall, "ideal": ideal, "overhead": 1 - ideal / wall, "driver_cpu": cpu, **start}


@contextmanager
def plain_ray() -> Iterator[None]:
    """Ray as it is without autockd's settings, but on the loopback interface alone."""
    import ray
    from ray._private import ray_constants

    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def in_a_process_of_its_own(side: str, options: argparse.Namespace) -> Timing:
    sizes = [f"--{name}={getattr(options, name)}" for name in ("trials", "seconds", "parallel")]
    command = [sys.executable, __file__, *sizes, f"--side={side}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    timing: Timing = json.loads(done.stdout.splitlines()[-1])
    return timing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial")
    parser.add_argument("--parallel", type=int, default=2, help="trials at a time, with a core each")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        print(json.dumps(measure(options.side, options.trials, options.seconds, options.parallel)))
        return 0
    print(f"{'':12}{'wall':>9}{'ideal':>9}{'overhead':>10}{'driver CPU':>12}   start of: database, Ray, first worker")
    for _ in range(options.rounds):
        for side in SIDES:
            timing = in_a_process_of_its_own(side, options)
            walls = f"{timing['wall']:7.1f} s{timing['ideal']:7.1f} s{timing['overhead']:10.1%}"
            starts = "".join(f"{timing[name]:7.1f} s" for name in ("database", "ray", "worker"))
            print(f"{side:12}{walls}{timing['driver_cpu']:10.1f} s  {starts}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
