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


def test_it_goes_on_from_its_own_copies(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
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
    moved = f"task.path={new / 'data' / 'films.csv'}"
    summary = Study.open("films", new / "studies", [moved]).resume()
    assert summary.count("complete") == 3
    told = events(new / "studies" / "films" / "ledger.jsonl")
    first, second = (event.bank for event in told if isinstance(event, BankReady))
    assert first.key == second.key
    assert (second.misses, second.filled) == (0, first.filled), "it has the bank that it had"

    (new / "data" / "films.csv").write_text((new / "data" / "films.csv").read_text().replace("good", "fine"))
    with pytest.raises(StudyError, match="its data set has changed"):
        Study.open("films", new / "studies").export(to=tmp_path / "bundle")


def test_a_finished_one_knows_where_its_data_are_now(tmp_path: Path) -> None:
    make_tiny_encoder(tmp_path / "base")
    _write_films(tmp_path / "data" / "films.csv")
    study = Study.create(parse_study(STUDY, "study.yaml", tmp_path), tmp_path / "studies")
    study.run()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    Study.open("films", tmp_path / "studies", [f"task.path={tmp_path / 'elsewhere' / 'films.csv'}"]).resume()
    bundle = Study.open("films", tmp_path / "studies").export(to=tmp_path / "bundle")
    assert json.loads((bundle / "autockd.json").read_text())["task"]["path"].endswith("elsewhere/films.csv")
