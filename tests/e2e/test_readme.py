"""Every example of README.md: YAML is valid, Python runs, commands run, or at least have the options that it prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import readme
import typer.main
import yaml
from PIL import Image

from autockd.cli.app import app, main
from autockd.config import parse_study
from autockd.config.schema import StudyConfig

# MLflow 3.17 under SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

ROOT = readme.README.parent
WRITTEN_OUT = {"scripts/demo", "scripts/test", "pip", "export", "ray", "mlflow", "optuna-dashboard", "openssl"}
"""Programs of shell blocks that need a network, a cluster, a server or minutes: only what they are asked is checked."""

NEED_MORE = {"ui": "serves until it is interrupted", "stop": "needs somebody who runs the study"}
"""Commands of autockd that are parsed and not run, and why."""

ELSEWHERE = ("resources.address", "tracking.uri", "--studies", "latency_ms")
"""Words that name another machine, its folders, or what `mine` does not measure: a command with one is not run."""

TINY = {
    "task.image_size": 8,
    "teacher.model": {"family": "cifar_resnet", "depth": 8, "width": 2},
    "teacher.training.epochs": 1,
    "training.epochs": 1,
    "student.model.width": 2,
    "search.trials": 2,
    "search.space.student_width.choices": [2, 4],
    "search.space.smoothing_start.high": 4,
    "method.smoothing_start": 2,
    "resources.precision": "fp32",
    "resources.parallel_trials": 1,
}
"""What makes the README's first study one of a few seconds."""


def options_of(command: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    return {
        name for parameter in group.commands[command].params for name in (*parameter.opts, *parameter.secondary_opts)
    }


def parsed(words: Sequence[str]) -> None:
    """Whether the command line takes these words, without obeying them."""
    group: Any = typer.main.get_command(app)
    command = group.commands[words[1]]
    command.make_context(words[1], list(words[2:]))


def of_autockd() -> list[list[str]]:
    return [words for words in readme.command_lines() if words[0] == "autockd"]


def study_of(block: readme.Block, folder: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    return parse_study(block.text, f"README.md, line {block.line}", folder, overrides)


def test_there_are_examples_of_every_kind() -> None:
    assert {block.language for block in readme.blocks("sh", "yaml", "python")} == {"sh", "yaml", "python"}
    assert len(of_autockd()) > 10
    assert len(readme.synopses()) > 15
    assert re.findall(r"^```", readme.README.read_text(), re.MULTILINE).count("```") % 2 == 0


def test_every_whole_study_is_valid(tmp_path: Path) -> None:
    names = [study_of(block, tmp_path).name for block in readme.studies()]
    assert len(set(names)) == len(names) >= 2


def test_every_part_of_a_study_fits_into_one(tmp_path: Path) -> None:
    for block in readme.additions():
        study_of(readme.studies()[0], tmp_path, readme.as_overrides(yaml.safe_load(block.text)))


@pytest.mark.parametrize("words", of_autockd(), ids=" ".join)
def test_every_command_is_one(words: list[str]) -> None:
    parsed(words)


@pytest.mark.parametrize(
    ("command", "words"), readme.synopses(), ids=lambda part: part if isinstance(part, str) else ""
)
def test_every_command_of_the_text_has_the_options_that_are_named(command: str, words: list[str]) -> None:
    named = {word.strip("[]") for word in words if word.lstrip("[").startswith("--")}
    assert named <= options_of(command) | {"--help"}


def test_every_option_without_a_command_is_one() -> None:
    group: Any = typer.main.get_command(app)
    known = {name for parameter in group.params for name in parameter.opts}
    assert readme.general_options()
    assert set(readme.general_options()) <= known


def test_every_command_of_ours_is_in_the_table() -> None:
    group: Any = typer.main.get_command(app)
    assert {command for command, _ in readme.synopses()} == set(group.commands)


def test_every_other_program_is_known() -> None:
    others = [words for words in readme.command_lines() if words[0] != "autockd"]
    assert {words[0] for words in others} <= WRITTEN_OUT
    for words in others:
        if words[0].startswith("scripts/"):
            assert (ROOT / words[0]).is_file()


@pytest.mark.parametrize("name", re.findall(r"`(scripts/\w+(?:\.py)?)`", readme.README.read_text()))
def test_every_script_that_is_named_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.filterwarnings("ignore")
def test_the_options_of_servers_are_theirs() -> None:
    from mlflow.cli import cli
    from ray.scripts.scripts import start

    known: dict[str, Any] = {"ray": start, "mlflow": cli.commands["server"]}
    asked = [words for words in readme.command_lines() if words[0] in known]
    assert {words[0] for words in asked} == set(known)
    for program, _, *words in asked:
        options = {name for parameter in known[program].params for name in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with `photos`, images of digits by class, and the README's first study, made small."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("readme")
    digits = load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images[:160], digits.target[:160], strict=True)):
        (folder / "photos" / f"digit {digit}").mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(folder / "photos" / f"digit {digit}" / f"{number}.png")
    config = yaml.safe_load(readme.studies()[0].text)
    for key, value in TINY.items():
        *parents, last = key.split(".")
        section = config
        for part in parents:
            section = section.setdefault(part, {})
        section[last] = value
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def ran(place: Path) -> str:
    """What the README's Python prints, in a process of its own: the study `mine`."""
    code = "\n".join(block.text for block in readme.blocks("python"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_python_runs_a_study(ran: str, place: Path) -> None:
    assert ran.strip().endswith("bundle")
    assert (place / "studies" / "mine" / "bundle" / "manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("ran")
def test_commands_run_in_the_order_of_the_text(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.delenv("AUTOCKD_STUDIES", raising=False)
    run = 0
    for words in of_autockd():
        if words[1] in NEED_MORE or any(word.startswith(ELSEWHERE) for word in words):
            continue
        said = obeyed(words, capsys)
        run += 1
        if words[1] == "status":
            assert "continuation" in said
        if words[1] == "evaluate":
            assert "recorded" in said
    assert run >= 8


def obeyed(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on stdout; runs are rehearsed, and every study that is named is `mine`."""
    words = [re.sub(r"\bdigits\b(?!\.)", "mine", word) for word in words[1:]]
    if words[0] in ("run", "compare"):
        words.append("--dry-run")
    refused = words[0] == "resume" and "--trials" in words  # its test split is open
    code = main(words)
    out, err = capsys.readouterr()
    assert code == (2 if refused else 0), f"{words}: {err}"
    if refused:
        assert "opened its test split" in err
    return out


@pytest.mark.slow
@pytest.mark.usefixtures("ran")
def test_json_is_printed_by_every_command_that_reads(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    bundle = "studies/mine/bundle"
    for words in (["ls"], ["validate", "mine.yaml"], ["status"], ["status", "mine"], ["evaluate", bundle], ["doctor"]):
        assert main([*words, "--json"]) == 0
        json.loads(capsys.readouterr().out)
