"""Ten bad inputs: each gets a message with the field, the rule, the value and the remedy, and its exit code."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from place import without_ray

from autockd.cli.app import main

STUDY = """\
name: bad
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 8}}
student: {model: {family: cifar_resnet, depth: 8, width: 4}}
method: {name: continuation, smoothing_start: 4}
training: {epochs: 10}
search:
  trials: 4
  space:
    learning_rate: {type: float, low: 0.01, high: 0.3, log: true}
"""


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a good study file in it."""
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCKD_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("AUTOCKD_CACHE", str(tmp_path / "cache"))
    return tmp_path


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The message on stderr of a command that must end with `code`, and say nothing on stdout."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("error: ")
    return err


def test_an_unknown_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "study.yaml").write_text(STUDY.replace("epochs: 10", "epocs: 10"))
    err = refused(["validate", "study.yaml"], capsys)
    assert "study.yaml:6: training.epocs: unknown key 'epocs' -> did you mean 'epochs'?" in err


def test_a_wrong_type(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "study.yaml").write_text(STUDY.replace("trials: 4", "trials: many"))
    err = refused(["run", "study.yaml"], capsys)
    assert "study.yaml:8: search.trials: " in err
    assert "integer" in err
    assert "'many'" in err


def test_a_range_reversed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "study.yaml").write_text(STUDY.replace("low: 0.01, high: 0.3", "low: 0.3, high: 0.01"))
    err = refused(["validate", "study.yaml"], capsys)
    assert "study.yaml:10: search.space.learning_rate: " in err
    assert "low must not be above high, but low is 0.3 and high is 0.01; swap them" in err


def test_a_missing_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["run", "studdy.yaml"], capsys)
    assert "studdy.yaml: there is no such file -> did you mean 'study.yaml'?" in err


def test_a_missing_file_that_the_study_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["validate", "study.yaml", "teacher.model.weights=teacher.safetensors"], capsys)
    assert f"teacher.model.weights: there is no file {folder / 'teacher.safetensors'} -> name a file" in err


def test_a_yaml_with_a_python_tag_runs_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = f"note: !!python/object/apply:os.system ['touch {folder / 'ran'}']\n"
    (folder / "study.yaml").write_text(STUDY + tag)
    err = refused(["run", "study.yaml"], capsys)
    assert "study.yaml:11: YAML: " in err
    assert "python/object/apply:os.system" in err
    assert "a study file is plain data: remove the tag" in err
    err = refused(["validate", "study.yaml", tag.strip().replace(": ", "=", 1)], capsys)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"]], ids=" ".join)
def test_a_pickle_as_teacher_weights_is_not_unpickled(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "teacher.pt"
    torch.save({"conv1.weight": Bomb(folder / "ran")}, path)
    assert b"system" in path.read_bytes(), "the bomb is armed"
    words = [*command, "study.yaml", "teacher.model.weights=teacher.pt", "tracking.enabled=false"]
    with without_ray():
        err = refused_at_last(words, capsys)
    assert f"weights: {path} is damaged or holds more than tensors; what would run code is never loaded" in err
    assert "-> save the weights alone, as safetensors or with torch.save(model.state_dict(), path)" in err
    assert not (folder / "ran").exists()


def test_a_bare_pickle_as_teacher_weights_is_not_unpickled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "teacher.pkl"
    path.write_bytes(pickle.dumps(Bomb(folder / "ran")))
    err = refused_at_last(["run", "--dry-run", "study.yaml", f"teacher.model.weights={path}"], capsys)
    assert str(path) in err
    assert not (folder / "ran").exists()


def test_a_t_max_beyond_the_schedule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["preview", "study.yaml", "method.smoothing_start=20"], capsys)
    assert "method: smoothing_start is 20, beyond the schedule of 10 epochs" in err
    assert "lower smoothing_start to at most 10, train for more epochs" in err


def test_a_t_max_that_the_space_can_push_beyond_the_schedule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["validate", "study.yaml", "search.space.smoothing_start={type: int, low: 1, high: 20}"], capsys)
    assert "search.space.smoothing_start: at 20: smoothing_start is 20, beyond the schedule of 10 epochs" in err


CIFAR11 = "task={source: torchvision, dataset: CIFAR11, root: ., download: false}"


def check_that_the_nearest_is_named(err: str) -> None:
    assert "task.dataset: torchvision has no data set 'CIFAR11'" in err
    assert "CIFAR10" in err, "the remedy names the nearest one"


def test_no_such_dataset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused_at_last(["run", "--dry-run", "study.yaml", CIFAR11, "tracking.enabled=false"], capsys)
    check_that_the_nearest_is_named(err)


def test_an_empty_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (folder / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "pets" / name / "1.png")
    (folder / "pets" / "axolotl").mkdir()
    err = refused_at_last(["run", "--dry-run", "study.yaml", "task={source: folder, path: pets}"], capsys)
    assert "task.path: " in err
    assert "axolotl" in err
    assert "or remove it" in err


@pytest.mark.parametrize("place", ["file/studies", "/proc/studies"])
def test_an_unwritable_studies_folder(place: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    err = refused(["run", "study.yaml", "--studies", place], capsys, code=3)
    assert f"{place}/bad: the study's folder cannot be written" in err
    assert "choose another with --studies or AUTOCKD_STUDIES" in err


@pytest.mark.slow
def test_a_mended_file_runs_under_the_same_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake that is found late, while a real Ray starts, must not leave a study behind that takes the name."""
    for ray in (contextlib.nullcontext, without_ray):
        with ray():
            err = refused_at_last(["run", "study.yaml", CIFAR11, "tracking.enabled=false"], capsys)
        check_that_the_nearest_is_named(err)
        assert "a study of this name exists" not in err


def test_all_mistakes_come_at_once_and_on_stderr(folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "autockd", "validate", "study.yaml", "seed=x", "training.batch_size=0", "colour=red"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "3 problems in the configuration:" in result.stderr
    assert [line.split(": ")[1] for line in result.stderr.splitlines()[1:]] == ["seed", "training.batch_size", "colour"]


def refused_at_last(words: Sequence[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """As `refused`, for a mistake that shows after the first messages of a run."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    return err
