"""How long the same search takes with autockd, and with what a user would otherwise build.

python scripts/benchmark_search.py --profile ci
python scripts/benchmark_search.py --profile cpu --images CIFAR10_FOLDER --texts GLUE_FOLDER

Every arm trains the same list of configurations (Sobol, seed 0) from the same data, teacher and first weights, and is
timed as one cold command: imports, Ray, teacher, training, evaluation and MLflow. Arms take turns, round after round; a
ratio is void where the students are not as good. The others train the first configurations, twice as many as they train
at a time, and are projected to all, each further one taking as long as those of the second half did. autockd never is,
except in the waterfall, where each run lacks one technique, and is compared with a run of as many trials that has all.

    profile   what                                             time
    tiny      digits, ResNet-20 -> ResNet-8, both narrow        about 8 minutes on 2 cores: tries that all of it works
    ci        digits at 32x32, ResNet-110 -> ResNet-8           4 to 6 minutes on 2 cores, no files needed
    cpu       CIFAR-10, the same pair; SST-2, MiniLM-L6 -> L2    an hour or more on 2 cores
    gpu       20,000 images of CIFAR-10, 6,000 sentences       about 25 minutes on one H100, reckoned, never run
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]  # one, for all arms

import torch
from search_benchmark.judging import OURS, ratio_of
from search_benchmark.measuring import Measured, measure
from search_benchmark.preparing import prepare, study_of
from search_benchmark.profiles import ARMS, NEEDS, PROFILES, TECHNIQUES, WAVES, Plan
from search_benchmark.setting import Setting
from search_benchmark.tables import as_json, ratios_table, shares_table, waterfall
from search_benchmark.workers import best_workers


def compare(
    plan: Plan, setting: Setting, data: Path | None, out: Path, arms: Sequence[str]
) -> Iterator[list[Measured]]:
    """All rounds of all arms, in turn; every other round backwards. Yields all runs so far after each round."""
    study, runs = study_of(plan, data), list[Measured]()
    for number in range(plan.rounds):
        for arm in arms if number % 2 == 0 else arms[::-1]:
            place = out / "runs" / f"{arm}-{number}"
            run = measure(arm, setting, study, place, number=number, waves=None if arm == OURS else WAVES)
            _say(run, plan)
            runs.append(run)
        yield runs


def take_away(plan: Plan, setting: Setting, data: Path | None, out: Path, techniques: Sequence[str]) -> list[Measured]:
    """Autockd without one technique at a time, after a run with all of them that is as short."""
    study, runs = study_of(plan, data), []
    for technique in ["", *techniques] if techniques else []:
        arm = f"{OURS} -{technique}" if technique else OURS
        place = out / "runs" / f"without-{technique or 'nothing'}"
        run = measure(arm, setting, study, place, number=0, waves=WAVES)
        _say(run, plan)
        runs.append(run)
    return runs


def _say(run: Measured, plan: Plan) -> None:
    projected = "" if run.trials == plan.trials else f", {run.projected:.0f} s for {plan.trials}"
    print(f"round {run.round}, {run.arm}: {run.wall:.1f} s for {run.trials} trials{projected}", file=sys.stderr)


def report(title: str, setting: Setting, runs: list[Measured], without: list[Measured]) -> tuple[str, dict[str, Any]]:
    """The tables of one comparison, and its numbers."""
    own = [run for run in runs if run.arm == OURS]
    arms = [arm for arm in dict.fromkeys(run.arm for run in runs) if arm != OURS]
    ratios = [ratio_of(arm, runs, setting.validation) for arm in arms]
    parts = [f"## {title}: {len(setting.points)} trials", ratios_table(ratios, runs)]
    if without:
        parts += ["One technique off, one run each:", waterfall(without[1:], without[0])]
    parts += ["Where autockd's time goes:", shares_table(own)]
    return "\n\n".join(parts), as_json(ratios, runs, without)


def changed(plan: Plan, options: argparse.Namespace) -> Plan:
    """The plan with what the command line changes."""
    changes = {name: getattr(options, name) for name in ("trials", "rounds") if getattr(options, name) is not None}
    for name, known in (("arms", ARMS), ("off", TECHNIQUES)):
        if (wanted := getattr(options, name)) is not None:
            changes[name] = tuple(each for each in known[plan.kind] if each in wanted)
    if options.epochs is not None:
        changes["training"] = {**plan.training, "epochs": options.epochs}
    return replace(plan, **changes)


def run(name: str, plan: Plan, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """One comparison from its preparation to its tables."""
    out = options.out.absolute() / options.profile / name
    data = getattr(options, name)
    setting = best_workers(prepare(plan, out, data))
    runs: list[Measured] = []
    for runs in compare(plan, setting, data, out, [*plan.arms, OURS]):
        tables, numbers = report(name, setting, runs, [])
        (out / "rounds.md").write_text(f"{tables}\n", encoding="utf-8")
        (out / "rounds.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return report(name, setting, runs, take_away(plan, setting, data, out, plan.off))


def absolute(text: str) -> Path:
    """A path that means the same anywhere."""
    return Path(text).absolute()


def count(text: str) -> int:
    """A number of something, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 up is needed, not {text}")
    return int(text)


def every(of: Mapping[str, Sequence[str]]) -> list[str]:
    """All names of both kinds of task, each once."""
    return list(dict.fromkeys(name for names in of.values() for name in names))


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, required=True)
    parser.add_argument("--only", choices=("images", "texts"), help="one of the profile's comparisons")
    parser.add_argument("--images", type=absolute, help="folder of CIFAR-10 in the layout of the hub's uoft-cs/cifar10")
    parser.add_argument("--texts", type=absolute, help="folder of GLUE in the layout of the hub's nyu-mll/glue")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="where all files go (default: ./benchmark)")
    names: dict[str, Any] = {"nargs": "*", "metavar": "NAME"}
    arms, techniques = every(ARMS), every(TECHNIQUES)
    parser.add_argument("--arms", **names, choices=arms, help=f"which, of {', '.join(arms)} (default: the profile's)")
    parser.add_argument(
        "--off", **names, choices=techniques, help=f"techniques to take away, of {', '.join(techniques)}; or none"
    )
    parser.add_argument("--trials", type=count, help="configurations, where not the profile's number")
    parser.add_argument("--rounds", type=count, help="rounds, where not the profile's number")
    parser.add_argument("--epochs", type=count, help="of a trial, where not the profile's number")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    words = parser()
    options = words.parse_args(arguments)
    if options.profile == "gpu" and not torch.cuda.is_available():
        words.error("the profile gpu needs a GPU that torch can use; cpu is the one for a machine without")
    if options.profile != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is compared with earlier runs on CPUs must be one
    plans = {name: plan for name, plan in PROFILES[options.profile].items() if options.only in (None, name)}
    for name, plan in plans.items():
        if plan.task["source"] != "digits" and getattr(options, name) is None:
            words.error(f"the profile {options.profile} needs --{name} FOLDER")
    plans = {name: changed(plan, options) for name, plan in plans.items()}
    for arm in dict.fromkeys(arm for plan in plans.values() for arm in plan.arms):
        if arm in NEEDS and importlib.util.find_spec(NEEDS[arm]) is None:
            words.error(f"the arm {arm} needs {NEEDS[arm]}: `scripts/test` installs it, or leave it out with --arms")
    found = {name: run(name, plan, options) for name, plan in plans.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps({name: facts for name, (_, facts) in found.items()}, indent=1)
    tables = "\n\n".join(text for text, _ in found.values())
    (options.out / f"{options.profile}.json").write_text(numbers, encoding="utf-8")
    (options.out / f"{options.profile}.md").write_text(f"{tables}\n", encoding="utf-8")
    print(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
