"""Arms as commands, each in a process of its own, by the wall clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_benchmark.arms import autockd
from search_benchmark.setting import Result, Setting

SCRIPTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measured:
    """One run of an arm.

    Attributes:
        arm: its name.
        round: counted from 0; also the seed of the baselines' orders.
        trials: that it really ran.
        wall: seconds of the whole command.
        projected: the same for all configurations.
        result: what it found.
    """

    arm: str
    round: int
    trials: int
    wall: float
    projected: float
    result: Result


def measure(
    arm: str, setting: Setting, study: Mapping[str, Any], out: Path, *, trials: int, of: int, number: int
) -> Measured:
    """Run an arm once.

    Args:
        arm: naive, tuned, torchdistill, trainer, trainer_tuned, autockd, or `autockd -TECHNIQUE`.
        setting: what all arms share.
        study: autockd's study without the configurations.
        out: folder for what the arm writes; emptied first.
        trials: how many it runs, the first ones of the list.
        of: how many its time is projected to.
        number: of the round.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command, own = _command(arm, setting, study, out, trials, number)
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS",)}
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1", **own}
    with (out / "output.txt").open("w") as output:
        began = time.perf_counter()
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
        wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{arm} failed with {done.returncode}; see {out / 'output.txt'}")
    ours = arm.startswith("autockd")
    result = autockd.read_result(out, trials) if ours else Result.load(out / "result.json")
    return Measured(arm, number, trials, wall, project(wall, result, trials, of), result)


def _command(
    arm: str, setting: Setting, study: Mapping[str, Any], out: Path, trials: int, number: int
) -> tuple[list[str], dict[str, str]]:
    if arm.startswith("autockd"):
        _, _, off = arm.partition(" -")
        words = autockd.command(dict(study), setting, out, trials)
        return words, autockd.environment(out, setting, off or None)
    sizes = [setting.folder, str(out), f"--trials={trials}", f"--seed={number}"]
    if arm.startswith("trainer"):
        tuned = ["--tuned"] if arm == "trainer_tuned" else []
        return [sys.executable, "-m", "search_benchmark.arms.trainer", *sizes, *tuned], {}
    return [sys.executable, "-m", "search_benchmark.arms.ray_tune", *sizes, f"--arm={arm}"], {}


def project(wall: float, result: Result, trials: int, of: int) -> float:
    """What the command would take with all configurations: its trials' share grows linearly, the rest stays."""
    return wall + (of - trials) / trials * (result.ended - result.began)
