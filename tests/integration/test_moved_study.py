"""A study that was stopped, and whose folder, data and teacher then lie elsewhere, goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from encoders import make_tiny_encoder

from autockd.config.loading import parse_study
from autockd.errors import Interrupted, StudyError
from autockd.records import BankReady, Event, TrialFinished
from autockd.search.halt import STOP
from autockd.study import Study
from autockd.summary import StudySummary
from autockd.tracking import events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STUDY = """
name: films
task: {source: text, path: data/films.csv, max_length: 16, validation_fraction: 0.25}
teacher:
  model: {family: encoder, path: base}
  training: {epochs: 1, batch_size: 16, optimizer: adamw, learning_rate: 3e-3}
student: {model: {family: encoder, layers: 2}}
method: {name: kd}
training: {epochs: 1, batch_size: 16, optimizer: adamw, learning_rate: 3e-3}
search: {trials: 3, space: {alpha: {type: float, low: 0.1, high: 0.9}}}
resources: {parallel_trials: 1, precision: fp32}
tracking: {enabled: false}
export: {onnx: false}
"""


def _write_films(path: Path) -> None:
    path.parent.mkdir()
    rows = [f"the film {verb} {word},{word}" for verb in ("is", "was") for word in ("good", "bad")] * 20
    path.write_text("\n".join(["text,label", *rows]))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudySummary]:
    """Where the study is now, which was stopped after its first trial, moved, and gone on with; and how it ended."""
    folder = tmp_path_factory.mktemp("moved")
    old, new = folder / "old", folder / "new"
    old.mkdir()
    make_tiny_encoder(old / "base")
    _write_films(old / "data" / "films.csv")
    study = Study.create(parse_study(STUDY, "study.yaml", old), old / "studies")

    def stop_after_the_first(event: Event) -> None:
        if isinstance(event, TrialFinished):
            (study.folder / STOP).touch()

    with pytest.raises(Interrupted):
        study.run(stop_after_the_first)

    old.rename(new)
    shutil.rmtree(new / "base")  # the teacher is in the study's folder, with its tokenizer
    there = f"task.path={new / 'data' / 'films.csv'}"
    return new, Study.open("films", new / "studies", [there]).resume()


def test_it_goes_on_from_its_own_copies(moved: tuple[Path, StudySummary]) -> None:
    new, summary = moved
    assert summary.count("complete") == 3
    told = events(new / "studies" / "films" / "ledger.jsonl")
    first, second = (event.bank for event in told if isinstance(event, BankReady))
    assert first.key == second.key
    assert (second.misses, second.filled) == (0, first.filled), "it has the bank that it had"


def test_a_finished_one_knows_where_its_data_are_now(moved: tuple[Path, StudySummary], tmp_path: Path) -> None:
    new, _ = moved
    (new / "data").rename(new / "elsewhere")
    Study.open("films", new / "studies", [f"task.path={new / 'elsewhere' / 'films.csv'}"]).resume()
    bundle = Study.open("films", new / "studies").export(to=tmp_path / "bundle")
    assert json.loads((bundle / "autockd.json").read_text())["task"]["path"].endswith("elsewhere/films.csv")


def test_it_describes_no_student_by_data_that_have_changed(moved: tuple[Path, StudySummary], tmp_path: Path) -> None:
    new, _ = moved
    (films,) = new.glob("*/films.csv")
    changed = tmp_path / "films.csv"
    changed.write_text(films.read_text().replace("good", "fine"))
    with pytest.raises(StudyError, match="its data set has changed"):
        Study.open("films", new / "studies", [f"task.path={changed}"]).export(to=tmp_path / "bundle")
