"""The scripts, each in a process of its own: the launchers on one tiny study of digits, and the shell's set-up."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autockd.export import load_bundle
from autockd.study import Study

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
SETTINGS = (
    "name=tiny",
    "task.limit_train=400",
    "teacher.model={family: cifar_resnet, depth: 8, width: 4}",
    "teacher.training.epochs=1",
    "training.epochs=2",
    "search.trials=3",
    "search.baselines=[{name: none}]",
    "finalists.seeds=0",
    "resources.precision=fp32",
    "resources.parallel_trials=1",
    "export.onnx=false",
    "tracking.enabled=false",
)


def launch(script: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it as a user does."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    environment = {**os.environ, "AUTOCKD_STUDIES": "studies"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, check=False)


def call(script: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported everything before."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.syspath_prepend(str(SCRIPTS))
        patch.chdir(cwd)
        patch.setenv("AUTOCKD_STUDIES", "studies")
        words = [str(argument) for argument in arguments]
        try:
            code = importlib.import_module(Path(script).stem).main(words)
        except SystemExit as left:  # argparse's way
            code = left.code
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of the checkout, with `studies/tiny` in it."""
    folder = tmp_path_factory.mktemp("scripts")
    space = ROOT / "search_spaces" / "resnet8_from_resnet20_digits.yaml"
    done = call("run_study.py", space, *SETTINGS, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "studies" / "tiny" / "bundle")
    assert [f"trial {n}: complete" in done.stderr for n in range(3)] == [True] * 3
    return folder


def test_trials_are_compared_best_first(place: Path) -> None:
    done = launch("compare_trials.py", "tiny", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert set(rows[0]) == {"study", "trial", "role", "method", "state", "value", "params", "seconds"}
    values = [row["value"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert {row["trial"]: row["role"] for row in rows} == {0: "baseline", 1: "default", 2: "sampled"}
    assert all(row["seconds"] > 0 for row in rows)


def test_the_table_names_each_trial_and_may_be_cut(place: Path) -> None:
    done = launch("compare_trials.py", place / "studies" / "tiny", "tiny", "--top", "4", cwd=place)
    assert done.returncode == 0, done.stderr
    assert sum(done.stdout.count(f" {role} ") for role in ("baseline", "default", "sampled")) == 4


def test_the_best_student_is_exported_where_one_says(place: Path) -> None:
    done = launch("export_best.py", "tiny", "--to", "out/best", "--no-onnx", cwd=place)
    assert done.returncode == 0, done.stderr
    folder = place / "out" / "best"
    assert Path(done.stdout.strip()).resolve() == folder
    assert load_bundle(folder).config.trial == Study.open("tiny", place / "studies").status().best_trial
    again = launch("export_best.py", "tiny", "--to", "out/best", "--no-onnx", cwd=place)
    assert again.returncode == 5
    assert again.stderr.startswith("error: ")


def test_a_mistake_is_named_in_a_line(place: Path) -> None:
    done = launch("run_study.py", "missing.yaml", cwd=place)
    assert done.returncode == 2
    assert "missing.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("compare_trials.py", ("tiny", "tyni"), "no study 'tyni'"),
        ("compare_trials.py", ("tiny", "--top", "0"), "--top must be at least 1"),
        ("export_best.py", ("tiny", "--to", "x", "--trial", "99"), "there is no trial 99"),
    ],
)
def test_so_are_others(place: Path, script: str, arguments: tuple[str, ...], message: str) -> None:
    done = call(script, *arguments, cwd=place)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def in_shell(code: str, checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run bash code after sourcing the environment script of a checkout."""
    command = ["bash", "-c", f'. "{checkout}/scripts/_environment.sh"; {code}']
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up reads of a checkout, and a stand-in for its .venv: a pip that says where it is."""
    root = tmp_path / "a checkout"
    (root / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "scripts/_environment.sh"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    tools = root / ".venv" / "bin"
    tools.mkdir(parents=True)
    executable(tools / "python", 'echo "$@" >> "${0%/bin/python}/calls"')
    executable(tools / "pip", 'echo "pip 24.0 from ${0%/bin/pip}/lib"')
    return root


def executable(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def calls(checkout: Path) -> list[str]:
    """What the stand-in's Python was asked to do since the last time: each call's last words."""
    log = checkout / ".venv" / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.replace(str(checkout), "CHECKOUT").rpartition("--no-compile ")[2] for line in lines]


def test_packages_are_installed_once_until_what_they_come_from_changes(checkout: Path) -> None:
    pip_itself = "--upgrade pip"
    assert in_shell("prepare_environment demo", checkout).returncode == 0
    assert calls(checkout) == [pip_itself, "-e CHECKOUT"]
    in_shell("prepare_environment demo", checkout)
    assert calls(checkout) == []
    in_shell("prepare_environment test", checkout)
    first, packages, references = calls(checkout)
    assert (first, packages) == (pip_itself, "-e CHECKOUT[dev]")
    assert references.startswith("--no-deps torchdistill==")
    in_shell("prepare_environment demo", checkout)
    assert calls(checkout) == []
    with (checkout / "pyproject.toml").open("a") as stream:
        stream.write("# changed\n")
    in_shell("prepare_environment test", checkout)
    assert len(calls(checkout)) == 3


def test_a_failed_installation_is_reported_and_tried_again(checkout: Path) -> None:
    executable(checkout / ".venv" / "bin" / "python", "exit 1")
    for _ in range(2):
        done = in_shell("prepare_environment demo", checkout)
        assert done.returncode == 3
        assert "pip could not install" in done.stderr


WITHOUT_PIP = f"""
case "$*" in
  "-m venv --clear "*)
    {shlex.quote(sys.executable)} -m venv --without-pip --clear "$4" || exit
    printf '#!/bin/sh\\necho "pip 24.0 from %s/lib"\\n' "$4" >"$4/bin/pip"
    chmod +x "$4/bin/pip" ;;
  *) exec {shlex.quote(sys.executable)} "$@" ;;
esac
"""
"""A Python whose environments have a stand-in for pip, which takes seconds to unpack."""


@pytest.mark.parametrize("mishap", ["killed", "half-made", "moved"])
def test_a_broken_environment_is_made_again(checkout: Path, mishap: str) -> None:
    venv = checkout / ".venv"
    if mishap == "killed":
        (venv / ".autockd-installing").touch()
    elif mishap == "half-made":
        (venv / "bin" / "pip").unlink()
    else:
        executable(venv / "bin" / "pip", "echo pip 24.0 from /elsewhere/.venv/lib")
    python = sys.executable
    if mishap != "killed":  # one is made as users have it
        python = str(checkout / "python3")
        executable(Path(python), WITHOUT_PIP)
    done = in_shell("pip_install() { :; }; prepare_environment demo", checkout, PYTHON=python)
    assert done.returncode == 0, done.stderr
    assert "making it again" in done.stderr
    asked = [venv / "bin" / "python", "-c", "import sys; print(sys.prefix)"]
    prefix = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(prefix) == venv
    assert in_shell("is_whole", checkout).returncode == 0


def test_an_environment_that_a_link_leads_to_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (checkout / ".venv").rename(theirs)
    (checkout / ".venv").symlink_to(theirs)
    executable(theirs / "bin" / "pip", f"echo pip 24.0 from {theirs}/lib")
    before = sorted(theirs.rglob("*"))
    done = in_shell("prepare_environment demo", checkout, PYTHON=sys.executable)
    assert done.returncode == 3
    assert f"error: .venv is a link to {theirs}" in done.stderr
    assert sorted(theirs.rglob("*")) == before


def test_an_old_python_is_refused_in_words(checkout: Path) -> None:
    old = checkout / "python3.9"
    executable(old, "exit 1")
    done = in_shell("make_venv", checkout, PYTHON=str(old))
    assert done.returncode == 3
    assert "none is a Python of 3.11 or later" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_the_demo_runs_a_study_with_a_name_of_its_own_and_hands_its_end_on(checkout: Path) -> None:
    (checkout / "scripts" / "demo").write_bytes((SCRIPTS / "demo").read_bytes())
    executable(checkout / ".venv" / "bin" / "autockd", 'echo "$@" > "${0%/bin/autockd}/demo"; exit "${CODE:-0}"')
    for code in ("0", "130"):
        command = ["bash", str(checkout / "scripts" / "demo"), "search.trials=48"]
        done = subprocess.run(command, env={**os.environ, "CODE": code}, capture_output=True, text=True, check=False)
        assert done.returncode == int(code), done.stderr
        asked = (checkout / ".venv" / "demo").read_text()
        assert re.fullmatch(r"run resnet8_from_resnet20_digits name=digits-demo-\d{8}-\d{6} search\.trials=48\n", asked)
        assert ("the demo took" in done.stderr) == (code == "0")


APT = """
echo "$@" >> "$LOG"
case "$*" in update*|*--download-only*) exit 0 ;; esac
[ -z "$PROVIDES" ] || ln -s "$PROVIDES" "${0%/apt-get}/python3"
"""


def test_python_is_installed_where_there_is_none_and_one_may(checkout: Path, tmp_path: Path) -> None:
    """Debian has venv in a package of its own."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    for name in ("bash", "dirname", "env", "ln"):
        (tools / name).symlink_to(shutil.which(name) or name)
    executable(tools / "id", "echo 0")
    executable(tools / "timeout", 'shift; exec "$@"')
    (tools / "apt-get").write_text(f"#!{tools}/bash\n{APT}")
    (tools / "apt-get").chmod(0o755)
    place = {"PATH": str(tools), "LOG": str(log)}
    nothing = in_shell("make_venv", checkout, **place, PROVIDES="")
    assert nothing.returncode == 3
    assert "none is a Python of 3.11 or later" in nothing.stderr
    named = in_shell("make_venv", checkout, **place, PROVIDES="", PYTHON="/no/python")
    assert named.returncode == 3
    assert log.read_text().count("update") == 1, "who names a Python gets no other"
    found = in_shell("install_python && find_python", checkout, **place, PROVIDES=sys.executable)
    assert found.stdout.strip() == str(tools / "python3"), found.stderr
    assert log.read_text().splitlines()[-1].endswith("--no-install-recommends python3 python3-venv")
