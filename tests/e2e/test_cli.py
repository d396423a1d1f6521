"""The command line as a user meets it: its commands, its streams, its speed."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from place import STUDY, Place

from autockd import __version__
from autockd.cli.app import app, main
from autockd.config.plain_yaml import read_plain

COMMANDS = {
    "ls": {"--json"},
    "cat": {"NAME", "--json"},
    "cp": {"NAME", "PATH"},
    "validate": {"FILE", "[KEY=VALUE]...", "--json"},
    "preview": {"FILE", "[KEY=VALUE]...", "--plot", "--json"},
    "run": {
        *("FILE", "[KEY=VALUE]...", "--trials", "--time-budget", "--smoke", "--profile", "--dry-run"),
        *("--studies", "--json", "--quiet", "-q"),
    },
    "compare": {
        *("FILE", "[KEY=VALUE]...", "--methods", "--trials", "--time-budget", "--smoke", "--dry-run"),
        *("--studies", "--json", "--quiet", "-q"),
    },
    "resume": {
        *("STUDY", "[KEY=VALUE]...", "--trials", "--time-budget"),
        *("--studies", "--json", "--quiet", "-q"),
    },
    "stop": {"STUDY", "--studies"},
    "sync": {"STUDY", "--studies", "--json"},
    "status": {"[STUDY]", "--studies", "--json"},
    "report": {"STUDY", "--to", "--studies", "--json"},
    "export": {
        *("STUDY", "--trial", "--pick", "--to", "--onnx", "--no-onnx", "--int8", "--no-int8", "--force"),
        "--studies",
    },
    "evaluate": {"BUNDLE", "--data", "--runtime", "--json"},
    "ui": {"[STUDY]", "--port", "--browser", "--no-browser", "--studies"},
    "doctor": {"--peak", "--json"},
}
"""The promise of the command line: nothing here disappears or changes its name without a note in the changelog."""

HEAVY = {"torch", "ray", "optuna", "mlflow", "numpy", "matplotlib", "sklearn"}


def names_of(command: Any) -> set[str]:
    names: set[str] = set()
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            names.add(parameter.metavar)
        else:
            names.update([*parameter.opts, *parameter.secondary_opts])
    return names


def test_commands_and_flags_are_these() -> None:
    group: Any = typer.main.get_command(app)
    assert {name: names_of(command) for name, command in group.commands.items()} == COMMANDS
    assert names_of(group) == {"--verbose", "-v", "--version", "--install-completion", "--show-completion"}


def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert re.search(rf"Examples?:\s+autockd {command}\b", text), command


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"autockd {__version__}\n"


LIBRARIES = "import pydantic, typer, yaml"

QUICK = """
import sys
from autockd.cli.app import main

heavy, *commands = sys.argv[1:]
for words in commands:
    code = main(words.split())
    if code or (found := set(heavy.split()) & set(sys.modules)):
        sys.exit(f"{words}: {code or f'imported {found}'}")
"""
"""Runs commands in one process until one fails, or has imported what it should not."""


def test_quick_commands_import_nothing_heavy(place: Place) -> None:
    commands = ("--help", "run --help", "ls", "cat resnet8_from_resnet20_digits", "validate tiny.yaml")
    result = subprocess.run(
        [sys.executable, "-c", QUICK, " ".join(HEAVY), *commands],
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("words", [["--help"], ["ls"], ["validate", "tiny.yaml"]], ids=" ".join)
def test_quick_commands_need_less_than_half_a_second(words: list[str], place: Place) -> None:
    """Of processor time, once in several tries: wall time is the same on an idle machine, and noise on a busy one.

    On a machine too slow for that, three times what Python and the libraries of the command line take by themselves.
    """
    least, bare = float("inf"), float("inf")
    for _ in range(8):
        least = min(least, seconds_of(lambda: place.done(*words)))
        if least < 0.5:
            return
        bare = min(bare, seconds_of(lambda: subprocess.run([sys.executable, "-c", LIBRARIES], check=True)))
    assert least < 3 * bare, f"{least:.2f} s of processor time; {bare:.2f} s for the libraries alone"


def seconds_of(command: Callable[[], object]) -> float:
    """Processor seconds of the processes that it starts, and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_shipped_spaces_are_listed_printed_copied_and_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ls", "--json"]) == 0
    spaces = json.loads(capsys.readouterr().out)
    assert "resnet8_from_resnet20_digits" in [space["name"] for space in spaces]
    assert all(space["summary"] for space in spaces), "every file opens with a comment"
    for space in spaces:
        assert main(["cat", space["name"]]) == 0
        printed = capsys.readouterr().out
        assert main(["cat", space["name"], "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == read_plain(printed, "it")
        assert main(["cp", space["name"], "."]) == 0
        assert capsys.readouterr().out == f"{space['name']}.yaml\n"
        assert (tmp_path / f"{space['name']}.yaml").read_text().rstrip("\n") + "\n" == printed


def test_validate_says_what_a_good_file_asks_for(place: Place) -> None:
    result = place.done("validate", "tiny.yaml", "search.trials=12")
    assert result.stdout == (
        "tiny.yaml is valid: study tiny, 12 trials of continuation, 2 epochs each, 1 dimension to search\n"
    )
    assert result.stderr == ""


def test_validate_checks_the_smoke_section_too(place: Place) -> None:
    (place.folder / "smoky.yaml").write_text(f"{STUDY}smoke: {{training.epoch: 1}}\n")
    result = place.inside("validate", "smoky.yaml")
    assert result.returncode == 2
    assert "smoky.yaml (smoke): training.epoch: unknown key 'epoch' -> did you mean 'epochs'?" in result.stderr


def test_as_json_problems_are_a_document_and_messages_go_elsewhere(place: Place) -> None:
    result = place.inside("validate", "tiny.yaml", "training.epochs=0", "--json")
    assert result.returncode == 2
    document = json.loads(result.stdout)
    assert document["valid"] is False
    assert [problem["field"] for problem in document["problems"]] == ["training.epochs"]
    assert "1 problem in the configuration" in result.stderr


def test_preview_shows_the_schedules_before_anything_runs(place: Place) -> None:
    result = place.done("preview", "tiny.yaml", "training.epochs=40", "method.smoothing_start=10", "--plot", "p.png")
    assert "phi (smoothing)" in result.stdout
    assert "▁" in result.stdout
    assert (place.folder / "p.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads(place.done_inside("preview", "tiny.yaml", "--json").stdout)
    assert document["epochs"] == 2
    assert len(document["columns"]["smoothing"]) == len(document["progress"]) == 200, "of 100 steps an epoch"


def test_preview_warns_of_the_dead_zone(place: Place) -> None:
    words = ("preview", "tiny.yaml", "method.margin=0.9", "training.epochs=40", "method.smoothing_start=10")
    result = place.done_inside(*words)
    assert "note: dead zone" in result.stderr
    assert "dead zone" not in result.stdout


def test_a_wrong_command_line_is_exit_code_2(place: Place) -> None:
    wrong = (["rnu"], ["run"], ["validate", "tiny.yaml", "--nope"], ["ui", "--port", "x"])
    for words, run in zip(wrong, (place.autockd, *[place.inside] * 3), strict=True):
        result = run(*words)
        assert result.returncode == 2, words
        assert result.stdout == ""
        assert "Usage" in result.stderr


def test_output_survives_a_terminal_without_unicode(place: Place) -> None:
    environment = {**place.environment, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    result = Place(place.folder, environment).done("preview", "tiny.yaml", "training.epochs=20")
    assert "???" in result.stdout


def test_a_dry_run_says_what_would_run_and_starts_nothing(place: Place) -> None:
    result = place.done("run", "tiny.yaml", "--dry-run", "--studies", "elsewhere", "--trials", "5")
    for part in ("360 training", "teacher: 4,934 parameters", "student: 1,320 parameters", "5 trials"):
        assert part in result.stdout
    assert str(place.folder / "elsewhere" / "tiny") in result.stdout
    assert not (place.folder / "elsewhere").exists()


def test_a_dry_comparison_says_what_each_method_searches(place: Place) -> None:
    words = ("compare", "tiny.yaml", "--methods", "none,kd-std,annealing", "--trials", "2", "--dry-run", "--json")
    told = json.loads(place.done_inside(*words).stdout)
    assert (told["study"], told["trials"]) == ("tiny-compare", 6)
    assert any(line.startswith("kd-std: trial: kd, 2 epochs of 3 steps; 2 trials") for line in told["checks"])
    assert any("annealing" in line and "stage_fraction" in line for line in told["checks"])


def test_a_home_folder_is_found_by_every_command(place: Place) -> None:
    assert f"no study in {Path.home() / 'of-nobody'}" in place.done_inside("status", "--studies=~/of-nobody").stderr
