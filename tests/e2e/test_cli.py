"""The command line as a user meets it: its commands, its streams, its speed, and a whole small study."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
from place import STUDY, Place

from autockd import __version__
from autockd.cli.app import app, main
from autockd.config.loading import read_plain
from autockd.tracking.saved_views import has_views

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


@pytest.fixture(scope="module")
def finished(place: Place) -> subprocess.CompletedProcess[str]:
    """The tiny study, run."""
    return place.done("run", "tiny.yaml")


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


@pytest.mark.parametrize(
    "words",
    [["--help"], ["run", "--help"], ["ls"], ["cat", "resnet8_from_resnet20_digits"], ["validate", "tiny.yaml"]],
    ids=" ".join,
)
def test_quick_commands_import_nothing_heavy(words: list[str], place: Place) -> None:
    code = (
        "import sys; from autockd.cli.app import main; code = main(sys.argv[1:]); "
        f"sys.exit(f'imported {{bad}}' if (bad := {HEAVY!r} & set(sys.modules)) else code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=place.folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("words", [["--help"], ["ls"], ["validate", "tiny.yaml"]], ids=" ".join)
def test_quick_commands_need_less_than_half_a_second(words: list[str], place: Place) -> None:
    """Of processor time, once in several tries: wall time is the same on an idle machine, and noise on a busy one."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        place.done(*words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    least = float("inf")
    for _ in range(8):
        least = min(least, seconds())
        if least < 0.5:
            return
    pytest.fail(f"{least:.2f} s of processor time")


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
    result = place.autockd("validate", "smoky.yaml")
    assert result.returncode == 2
    assert "smoky.yaml (smoke): training.epoch: unknown key 'epoch' -> did you mean 'epochs'?" in result.stderr


def test_as_json_problems_are_a_document_and_messages_go_elsewhere(place: Place) -> None:
    result = place.autockd("validate", "tiny.yaml", "training.epochs=0", "--json")
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
    document = json.loads(place.done("preview", "tiny.yaml", "--json").stdout)
    assert len(document["columns"]["smoothing"]) == document["epochs"] == 2


def test_preview_warns_of_the_dead_zone(place: Place) -> None:
    result = place.done("preview", "tiny.yaml", "method.margin=0.9", "training.epochs=40", "method.smoothing_start=10")
    assert "note: dead zone" in result.stderr
    assert "dead zone" not in result.stdout


def test_a_wrong_command_line_is_exit_code_2(place: Place) -> None:
    for words in (["rnu"], ["run"], ["validate", "tiny.yaml", "--nope"], ["ui", "--port", "x"]):
        result = place.autockd(*words)
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
    told = json.loads(place.done(*words).stdout)
    assert (told["study"], told["trials"]) == ("tiny-compare", 6)
    assert any(line.startswith("kd-std: trial: kd, 2 epochs of 3 steps; 2 trials") for line in told["checks"])
    assert any("annealing" in line and "stage_fraction" in line for line in told["checks"])


@pytest.mark.slow
def test_a_run_ends_with_a_table_the_bundle_and_the_next_commands(
    place: Place, finished: subprocess.CompletedProcess[str]
) -> None:
    rows = [line.split("  ")[0].strip() for line in finished.stdout.splitlines() if "%" in line]
    assert rows[:2] == ["teacher", "student, no distillation"]
    assert re.fullmatch(r"best student \(continuation, trial \d\)", rows[2])
    assert f"bundle: {place.folder / 'studies' / 'tiny' / 'bundle'}" in finished.stdout
    for command in ("autockd ui tiny", "autockd status tiny", "autockd evaluate "):
        assert command in finished.stderr
    assert finished.stderr.count(f"MLflow: sqlite:///{place.folder}") == 2
    assert len(re.findall(r"^trial \d \(\w+\): done", finished.stderr, re.MULTILINE)) == 3


@pytest.mark.slow
def test_a_run_leaves_data_on_stdout_and_all_else_on_stderr(finished: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in finished.stdout + finished.stderr
    assert not re.search(r"Traceback|Warning", finished.stderr)
    assert all(line == "" or line.startswith(" ") or ":" in line for line in finished.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_status_shows_one_study_or_all(place: Place) -> None:
    assert json.loads(place.done("status", "tiny", "--json").stdout)["finished"] is True
    assert [study["study"] for study in json.loads(place.done("status", "--json").stdout)] == ["tiny"]
    shown = place.done("status", "tiny")
    assert re.search(r"\* \d +continuation", shown.stdout)
    assert "tiny: finished" in shown.stderr
    assert re.search(r"tiny +finished +3/3 +accuracy", place.done("status").stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_a_study_that_failed_before_it_began_hides_no_other(place: Place) -> None:
    weights = "teacher.model.weights=studies/tiny/bundle/model.safetensors"  # of a student, which is narrower
    assert place.autockd("run", "tiny.yaml", "name=never", weights).returncode == 2
    assert (place.folder / "studies" / "never" / "ledger.jsonl").exists()
    assert [study["study"] for study in json.loads(place.done("status", "--json").stdout)] == ["tiny"]
    assert place.autockd("status", "never").returncode == 2


def test_a_home_folder_is_found_by_every_command(place: Place) -> None:
    assert f"no study in {Path.home() / 'of-nobody'}" in place.done("status", "--studies=~/of-nobody").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_the_bundle_gives_the_recorded_metric_again(place: Place) -> None:
    for runtime, run in (("torch", place.done), ("onnx", place.inside)):
        result = json.loads(run("evaluate", "studies/tiny/bundle", "--runtime", runtime, "--json").stdout)
        assert result["value"] == pytest.approx(result["recorded"], abs=1e-9)
    elsewhere = json.loads(place.inside("evaluate", "studies/tiny/bundle", "--data", "tiny.yaml", "--json").stdout)
    assert (elsewhere["value"], "recorded" in elsewhere) == (result["recorded"], False)
    without = place.inside("evaluate", "studies/tiny/bundle", "--runtime", "int8")
    assert without.returncode == 5
    assert "has no model.int8.onnx -> export with int8" in without.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_an_int8_model_is_exported_with_figures_of_its_own(place: Place) -> None:
    done = place.done("export", "tiny", "--to", "small", "--int8")
    folder = Path(done.stdout.strip())
    assert re.search(r"int8 +\d+ kB +\d", done.stderr)
    _, int8 = json.loads((folder / "figures.json").read_text())["models"]
    result = json.loads(place.inside("evaluate", "small", "--runtime", "int8", "--json").stdout)
    assert result["value"] == result["recorded"] == int8["test"]
    refused = place.inside("export", "tiny", "--to", "other8", "--int8", "--no-onnx")
    assert refused.returncode == 2
    assert "export.int8" in refused.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_another_trial_is_exported_elsewhere_and_nothing_is_overwritten(place: Place) -> None:
    words = ("export", "tiny", "--trial", "0", "--to", "other", "--no-onnx")
    assert Path(place.done(*words).stdout.strip()).samefile(place.folder / "other")
    assert not (place.folder / "other" / "model.onnx").exists()
    assert place.inside(*words).returncode == 5
    assert place.inside(*words, "--force").returncode == 0
    taken = place.inside("export", "tiny")
    assert (taken.returncode, "bundle: exists already" in taken.stderr) == (5, True)
    assert place.inside("export", "tiny", "--trial", "99").returncode == 2
    wrong = place.inside("export", "tiny", "--trial", "last")
    assert wrong.returncode == 2
    assert "--trial: 'last' is neither `best` nor a trial's number" in wrong.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_a_second_study_of_that_name_is_refused(place: Place) -> None:
    result = place.inside("run", "tiny.yaml")
    assert result.returncode == 2
    assert "a study of this name exists" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_a_finished_study_goes_on_by_saying_its_result_again(
    place: Place, finished: subprocess.CompletedProcess[str]
) -> None:
    ledger = place.folder / "studies" / "tiny" / "ledger.jsonl"
    before = ledger.read_bytes()
    again = place.done("resume", "tiny")
    assert again.stdout == finished.stdout
    assert ledger.read_bytes() == before
    more = place.inside("resume", "tiny", "--trials", "9")
    assert more.returncode == 2
    assert "opened its test split at" in more.stderr
    other = place.inside("resume", "tiny", "--trials", "9", "training.epochs=3")
    assert "training.epochs: 2 -> 3" in other.stderr
    changed = place.inside("resume", "tiny", "search.space.learning_rate.high=0.4")
    assert changed.returncode == 2
    assert "search.space.learning_rate.high: 0.3 -> 0.4" in changed.stderr
    idle = place.inside("resume", "tiny", "export.onnx=false")
    assert "tiny is finished, so this changes nothing: export.onnx: True -> False" in idle.stderr
    assert ledger.read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_sync_changes_nothing_that_is_there(place: Place) -> None:
    database = place.folder / "studies" / "mlflow.db"
    runs = "select run_uuid, status, start_time, end_time from runs order by run_uuid"
    with sqlite3.connect(database) as connection:
        before = connection.execute(runs).fetchall()
    said = place.done("sync", "tiny").stderr
    assert re.fullmatch(
        r"tiny: MLflow at .* has all of its \d+ events\ntiny: .* digits version 1, champion: .*\n", said
    )
    with sqlite3.connect(database) as connection:
        assert connection.execute(runs).fetchall() == before
    assert len(before) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_what_does_not_run_cannot_be_stopped(place: Place) -> None:
    result = place.autockd("stop", "tiny")
    assert result.returncode == 2
    assert "tiny is not running" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_an_unknown_study_gets_the_names_that_are_there(place: Place) -> None:
    result = place.autockd("status", "tinny")
    assert result.returncode == 2
    assert "tinny" in result.stderr
    assert "tiny" in result.stderr


@pytest.fixture
def server(place: Place, finished: subprocess.CompletedProcess[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "autockd", "ui", "--no-browser", "--port", str(port)],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        yield process, port
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def listening_on(port: int) -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which somebody listens for TCP connections to a port."""
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
    sockets = [line.split()[1:4:2] for line in lines]
    return {local.split(":")[0] for local, state in sockets if state == "0A" and int(local.split(":")[1], 16) == port}


@pytest.mark.slow
def test_ui_serves_the_latest_study_on_this_machine_alone(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    view = "viewStateShareKey=autockd-" if has_views(version("mlflow")) else ""
    assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/#/experiments/\d+/runs\?.*{view}.*", url)
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                assert answer.read() == b"OK"
                assert listening_on(port) == {"0100007F"}
                return
        except OSError:
            assert time.monotonic() < deadline, "the server does not answer"
            assert process.poll() is None
            time.sleep(0.5)
