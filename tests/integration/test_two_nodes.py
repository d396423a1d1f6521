"""A study on a Ray cluster of two machines that share the study's folder alone, one of which is lost midway."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray_nodes import RayNode, token_authentication

from autockd.records import BankReady, EpochFinished, Event, Noted, TrialFinished, TrialStarted
from autockd.tracking import read_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRIALS, EPOCHS = 4, 40

JOIN = """
import sys

from autockd.errors import AutockdError
from autockd.search.connection import connection

try:
    with connection(sys.argv[1]):
        print("it joined")
except AutockdError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
"""What a study does to reach a cluster, without all that a command imports beside."""

STUDY = f"""
name: two
seed: 5
task:
  {{source: digits, limit_train: 500, validation_fraction: 0.25, limit_test: 200, augmentation: {{crop_padding: 1}}}}
teacher:
  model: {{family: cifar_resnet, depth: 8, width: 8}}
  training: {{epochs: 2, batch_size: 32, learning_rate: 0.1}}
student:
  model: {{family: cifar_resnet, depth: 8, width: 2}}
method: {{name: continuation, smoothing_start: 4, granularity: step, margin_mode: none}}
training: {{epochs: {EPOCHS}, batch_size: 32, learning_rate: 0.1}}
search:
  trials: {TRIALS}
  baselines: []
  space:
    learning_rate: {{type: float, low: 0.01, high: 0.3, log: true}}
resources: {{precision: fp32}}
export: {{onnx: false}}
"""


@dataclass
class Site:
    """Two nodes with a cache each, and the folder that both see."""

    folder: Path
    environment: dict[str, str]
    nodes: tuple[RayNode, RayNode]

    @property
    def caches(self) -> tuple[Path, Path]:
        return self.folder / "cache-0", self.folder / "cache-1"

    def run(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """`autockd run` of the study, on the first node's machine."""
        return self._start("-m", "autockd", "run", "study.yaml", "--quiet", *words, **environment)

    def join(self, address: str, **environment: str) -> subprocess.Popen[str]:
        """Join a cluster from there, and leave it."""
        return self._start("-c", JOIN, address, **environment)

    def _start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        variables = {**self.environment, "AUTOCKD_CACHE": str(self.caches[0]), **environment}
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env={name: value for name, value in variables.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with_database(folder / "studies")
    (folder / "study.yaml").write_text(STUDY)
    # A study that ran in this process before has left Ray's variables here.
    foreign = ("AUTOCKD", "MLFLOW", "RAY_", "TUNE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {**token_authentication(), "OMP_NUM_THREADS": "1"}
    head = RayNode({**environment, "AUTOCKD_CACHE": str(folder / "cache-0")})
    try:
        head.wait()
        other = RayNode({**environment, "AUTOCKD_CACHE": str(folder / "cache-1")}, head.address)
        try:
            other.wait()
            yield Site(folder, environment, (head, other))
        finally:
            other.remove()
    finally:
        head.remove()


def test_who_may_not_join_is_told_why_at_once(site: Site) -> None:
    address, began = site.nodes[0].address, time.monotonic()
    study = ("tracking.enabled=false", f"resources.address={address}", "name=wrong")
    runs = {
        "wrong": site.run(*study, RAY_AUTH_TOKEN="0" * 64),
        "none": site.join(address, RAY_AUTH_TOKEN="", HOME=str(site.folder)),
        "no authentication": site.join(address, RAY_AUTH_MODE="disabled"),
        "nobody": site.join("127.0.0.1:1"),
    }
    try:
        said = {name: (run.communicate(timeout=60)[1], run.returncode) for name, run in runs.items()}
    finally:
        for run in runs.values():
            run.kill()
    assert {name: code for name, (_, code) in said.items()} == dict.fromkeys(runs, 3), said
    for name in ("wrong", "none", "no authentication"):
        assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN" in said[name][0]
    assert "nothing answers there" in said["nobody"][0]
    assert "ray start --head" in said["nobody"][0]
    assert not any(site.environment["RAY_AUTH_TOKEN"] in text for text, _ in said.values())
    assert time.monotonic() - began < 60


def test_a_lost_node_costs_no_trial(site: Site) -> None:
    run = site.run(f"resources.address={site.nodes[0].address}")
    ledger = site.folder / "studies" / "two" / "ledger.jsonl"
    try:
        running = wait_for_trials_on_both(ledger, run)
        killed_at, killed = time.time(), site.nodes[1].kill()
        said = run.communicate(timeout=180)
    finally:
        run.kill()
    assert run.returncode == 0, said
    assert any("Trainable" in command for command in killed.values()), killed

    seen = list(read_events(ledger))
    finished = {event.trial: event for event in seen if isinstance(event, TrialFinished)}
    assert [event.trial for event in seen if isinstance(event, TrialStarted)] == list(range(TRIALS))
    assert sorted(event.trial for event in seen if isinstance(event, TrialFinished)) == list(range(TRIALS))
    assert {event.state for event in finished.values()} == {"complete"}
    for trial in range(TRIALS):
        assert epochs_of(seen, trial) == list(range(1, EPOCHS + 1))
        assert (site.folder / "studies" / "two" / f"trials/{trial:04d}/best.safetensors").exists()
    # Of the two that ran, one went on where it was; the other one's training began once more, after the loss.
    again = [trial for trial in running if finished[trial].time - finished[trial].seconds > killed_at]
    assert len(again) == 1

    token = site.environment["RAY_AUTH_TOKEN"].encode()
    assert [path for path in site.folder.rglob("*") if path.is_file() and token in path.read_bytes()] == []
    check_banks(site, seen)
    check_mlflow(site.folder / "studies")


def wait_for_trials_on_both(ledger: Path, run: subprocess.Popen[str]) -> set[int]:
    """Until a trial on each node is midway; which those are."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.1)
        seen = list(read_events(ledger)) if ledger.exists() else []
        finished = {event.trial for event in seen if isinstance(event, TrialFinished)}
        running = {event.trial for event in seen if isinstance(event, TrialStarted)} - finished
        if len(running) == 2 and all(1 <= len(epochs_of(seen, trial)) <= EPOCHS - 10 for trial in running):
            return running
    run.kill()
    raise AssertionError(run.communicate())


def epochs_of(seen: list[Event], trial: int) -> list[int]:
    return [event.record.epoch for event in seen if isinstance(event, EpochFinished) and event.trial == trial]


def check_banks(site: Site, seen: list[Event]) -> None:
    """Each node had a whole bank of its own before the search: no trial had to ask the teacher."""
    (ready,) = [event.bank for event in seen if isinstance(event, BankReady)]
    filled = [(cache / "banks" / ready.key / "filled.u8").read_bytes().count(1) for cache in site.caches]
    assert filled == [ready.filled, ready.filled]
    assert ready.misses == 2 * ready.filled
    assert sum(event.bank_misses for event in seen if isinstance(event, TrialFinished)) == 0
    (choice,) = [event.text for event in seen if isinstance(event, Noted) and "trials at a time" in event.text]
    assert choice == "2 trials at a time with 1 core each, of 2 cores and 0 GPUs on 2 nodes"


def check_mlflow(studies: Path) -> None:
    (database,) = studies.glob("*.db")
    with sqlite3.connect(database) as connection:
        states = connection.execute("SELECT status FROM runs").fetchall()
    assert states == [("FINISHED",)] * (TRIALS + 1), json.dumps(states)
