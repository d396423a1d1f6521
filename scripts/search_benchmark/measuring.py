"""Arms as commands, each in a process of its own, by the wall clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
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
        round: counted from 0; each has another order of samples.
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
    arm: str, setting: Setting, study: Mapping[str, Any], out: Path, *, number: int, waves: int | None = None
) -> Measured:
    """Run an arm once.

    Args:
        arm: one of `profiles.ARMS`, autockd, or `autockd -TECHNIQUE`.
        setting: what all arms share.
        study: autockd's study without the configurations.
        out: folder for what the arm writes; emptied first.
        number: of the round.
        waves: how often it fills its places for trials, at least two; None runs the whole list.
    """
    places, of = places_of(arm, setting), len(setting.points)
    trials = of if waves is None else min(of, waves * places)
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
    return Measured(arm, number, trials, wall, project(wall, result.ends, places, of), result)


def places_of(arm: str, setting: Setting) -> int:
    """How many trials an arm trains at a time; `hyperparameter_search` one after the other, on all cores."""
    return 1 if arm.startswith("trainer") else setting.parallel


def _command(
    arm: str, setting: Setting, study: Mapping[str, Any], out: Path, trials: int, number: int
) -> tuple[list[str], dict[str, str]]:
    if arm.startswith("autockd"):
        off = arm.partition(" -")[2] or None
        words = autockd.command(dict(study), setting, out, trials, off)
        return words, autockd.environment(out, setting, off, number)
    sizes = [setting.folder, str(out), f"--trials={trials}", f"--seed={number}"]
    if arm.startswith("trainer"):
        switches = {"trainer_tuned": ["--tuned"], "trainer_grouped": ["--tuned", "--grouped"]}.get(arm, [])
        return [sys.executable, "-m", "search_benchmark.arms.trainer", *sizes, *switches], {}
    return [sys.executable, "-m", "search_benchmark.arms.ray_tune", *sizes, f"--arm={arm}"], {}


def project(wall: float, ends: Sequence[float], places: int, of: int) -> float:
    """What the command would take with all configurations.

    Every further trial takes what those after the first wave took, from its end on. So what a worker or a search does
    only once (imports, a data base) counts once, and what each trial does beside training counts for each.

    Args:
        wall: seconds of the command.
        ends: moments of its trials' ends, in order.
        places: trials at a time.
        of: all configurations.
    """
    trials = len(ends)
    if trials == of:
        return wall
    return wall + (of - trials) * (ends[-1] - ends[places - 1]) / (trials - places)
