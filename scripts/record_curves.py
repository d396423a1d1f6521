"""Record the learning curves of real trials, for the replay of searches in tests/replay.

.venv/bin/python scripts/record_curves.py search_spaces/resnet8_from_resnet20_digits.yaml curves.json.gz --points 512

Trains the study's teacher once, then a Sobol sequence of points of its space, each for the whole run and for the same
schedule compressed to fewer epochs, with several seeds. What is trained is kept beside the output, in curves.jsonl: the
same command goes on after a stop, and may ask for more points or seeds then.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "replay"))  # the replay's own modules are no package

import torch
from harness.points import from_unit

from autockd.config import StudyConfig, TrialConfig, baseline_config, load_study, trial_config
from autockd.config.trial import conditioned_space, default_params
from autockd.data import Task, load_task
from autockd.errors import AutockdError
from autockd.provenance import package_versions
from autockd.records import EpochRecord, PrecisionChoice
from autockd.search.stages import fill_bank, ready_teacher
from autockd.search.stopping import compressed
from autockd.training.bank import TeacherBank
from autockd.training.teacher import TeacherSpec
from autockd.training.trainer import Trainer

METRICS = ("loss", "hard_loss", "soft_loss", "active_fraction")
CONVENTIONS = {
    "points": "rows of the table: their role in a study, and their parameters; the sampled ones are a Sobol sequence",
    "runs": "by length in epochs: each is a schedule of its own; [seed][point] gives one number for each epoch",
    "correct": "validation images that were classified correctly after the epoch",
    "loss": "mean over the epoch's training samples of the objective; hard_loss and soft_loss are its parts",
    "active_fraction": "share of training samples whose hinge is active; null where the method has none",
    "seconds": "training and evaluation of the epoch, on one thread of a CPU that had other work too",
}


@dataclass(frozen=True)
class Job:
    """One run to record."""

    point: int
    seed: int
    epochs: int


class Recorder:
    """Trains what is asked for and has not been trained before."""

    def __init__(self, study: StudyConfig, trials: Sequence[TrialConfig], work: Path) -> None:
        self.study = study
        self.trials = trials
        self.work = work
        self.done: dict[Job, dict[str, Any]] = dict(_read(work))
        self._task, _ = load_task(study.task)
        self._precision = PrecisionChoice(
            precision="fp32", channels_last=False, threads=1, device="cpu", reason="the same on every machine"
        )
        self._teacher, self._bank = self._ready()

    @property
    def task(self) -> Task:
        return self._task

    @property
    def teacher(self) -> TeacherSpec:
        return self._teacher

    def record(self, job: Job) -> None:
        """Train one run and write it down."""
        if job in self.done:
            return
        records = list(self._train(job))
        self.done[job] = {
            "correct": [round(record.metric * len(self._task.validation)) for record in records],
            **{name: [_short(getattr(record, name)) for record in records] for name in METRICS},
            "seconds": [round(record.train_seconds + record.evaluate_seconds, 3) for record in records],
        }
        with self.work.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**vars(job), "run": self.done[job]}) + "\n")

    def _train(self, job: Job) -> Iterator[EpochRecord]:
        trial = self._schedule(job).model_copy(update={"seed": job.seed})
        moment = self._teacher.record.second_moment
        yield from Trainer(trial, self._task, self._precision, bank=self._bank, second_moment=moment).fit()

    def _schedule(self, job: Job) -> TrialConfig:
        trial = self.trials[job.point]
        return trial if job.epochs == trial.training.epochs else compressed(trial, job.epochs)

    def _ready(self) -> tuple[TeacherSpec, TeacherBank]:
        weights = self.work.with_suffix(".teacher.safetensors")
        teacher = ready_teacher(self.study, self._task, weights, threads=1, device="cpu", answers="fp32")
        fill_bank(teacher, self._task, "cpu", 1, self.study.training.epochs, shard=0, shards=1)
        return teacher, teacher.bank(self._task, torch.device("cpu"))


def points(study: StudyConfig, count: int) -> list[dict[str, Any]]:
    """The baselines, the study's own values, and a Sobol sequence over the space."""
    space = conditioned_space(study)
    named: list[dict[str, Any]] = [{"role": "baseline", "params": {}} for _ in study.search.baselines]
    named.append({"role": "default", "params": default_params(study)})
    sobol = torch.quasirandom.SobolEngine(len(space), scramble=True, seed=study.seed)
    unit = sobol.draw(count, dtype=torch.float64)
    return named + [{"role": "sampled", "params": from_unit(space, row)} for row in unit.tolist()]


def trials_of(study: StudyConfig, rows: Sequence[dict[str, Any]]) -> list[TrialConfig]:
    """The trial of every point."""
    baselines = [baseline_config(study, method) for method in study.search.baselines]
    return baselines + [trial_config(study, row["params"]) for row in rows[len(baselines) :]]


def packed(recorder: Recorder, rows: Sequence[dict[str, Any]], lengths: Sequence[int], seeds: int) -> dict[str, Any]:
    """The data file: every run by length, metric, seed and point."""
    names = ("correct", *METRICS, "seconds")
    runs = {
        str(length): {
            name: [[recorder.done[Job(p, s, length)][name] for p in range(len(rows))] for s in range(seeds)]
            for name in names
        }
        for length in lengths
    }
    study = recorder.study.model_dump(mode="json", include={"name", "seed", "task", "student", "method", "training"})
    teacher = recorder.teacher
    return {
        "format": 1,
        "conventions": CONVENTIONS,
        "study": {**study, "teacher": teacher.config.model_dump(mode="json")},
        "space": recorder.study.model_dump(mode="json")["search"]["space"],
        "teacher_metric": teacher.record.metric,
        "teacher_weights": teacher.record.weights_hash,
        "task_fingerprint": recorder.task.fingerprint,
        "versions": package_versions(),
        "validation_images": len(recorder.task.validation),
        "points": list(rows),
        "runs": runs,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the study file")
    parser.add_argument("output", type=Path, help="the data file to write, *.json.gz")
    parser.add_argument("--points", type=int, default=512, help="sampled points, best a power of two (default: 512)")
    parser.add_argument("--seeds", type=int, default=4, help="runs of each, which differ in their seed (default: 4)")
    parser.add_argument("--epochs", type=int, default=9, help="epochs of the whole run (default: 9)")
    parser.add_argument("--compressed", type=int, nargs="*", default=[1, 3], help="epochs of the compressed runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        study = load_study(options.file, [f"training.epochs={options.epochs}", "resources.precision=fp32"])
        rows = points(study, options.points)
        recorder = Recorder(study, trials_of(study, rows), options.output.with_suffix("").with_suffix(".jsonl"))
        lengths = [*sorted(options.compressed), options.epochs]
        for seed in range(options.seeds):
            for point in range(len(rows)):
                for length in lengths:
                    recorder.record(Job(point, seed, length))
                print(f"\rseed {seed}, point {point + 1} of {len(rows)}", end="", file=sys.stderr)
    except AutockdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    _write(options.output, packed(recorder, rows, lengths, options.seeds))
    return 0


def _read(work: Path) -> Iterator[tuple[Job, dict[str, Any]]]:
    """What is recorded already; a line that a stop cut off is trained again."""
    if not work.exists():
        return
    whole = work.read_text(encoding="utf-8").rpartition("\n")[0]
    work.write_text(whole + "\n" if whole else "", encoding="utf-8")
    for line in whole.splitlines():
        entry = json.loads(line)
        run = entry.pop("run")
        yield Job(**entry), run


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main())
