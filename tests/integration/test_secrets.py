"""Credentials in the environment and in careless places, and then every file and word that a study leaves behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autockd.cli.app import main
from autockd.records import StudyStarted, TrialFinished
from autockd.tracking import events

pytestmark = pytest.mark.slow

IN_THE_ENVIRONMENT = {
    "HF_TOKEN": "canaryHuggingFace1",
    "MLFLOW_TRACKING_PASSWORD": "canaryMlflow2",
    "MLFLOW_TRACKING_TOKEN": "canaryMlflow3",
    "AWS_SECRET_ACCESS_KEY": "canary/Aws+4",
    "PGPASSWORD": "canaryPostgres5",
    "KAGGLE_KEY": "canaryKaggle6",
    "DATABASE_URL": "postgresql://ada:canaryDatabase7@db/studies",
}
CACHE_CANARY = IN_THE_ENVIRONMENT["HF_TOKEN"]
"""Stands in the path of the cache, so that what fails there says it."""

NOTE = [
    *IN_THE_ENVIRONMENT.values(),
    "see http://ada:canaryWiki8@wiki/page",
    "curl -H 'Authorization: Bearer canaryHeader9'",
    "password: canaryAssignment10",
    "https://hub/file?token=canaryQuery11",
    "hf_canaryWellKnownToken12canaryWell",
]
CANARY = b"canary"
DIMENSION = "{type: float, low: 0.01, high: 0.3, log: true}"

STUDY = f"""\
name: careless
note: |
  {"; ".join(NOTE)}
task: {{source: digits, limit_train: 400}}
teacher:
  model: {{family: cifar_resnet, depth: 8, width: 4}}
  training: {{epochs: 1, batch_size: 128, learning_rate: 0.1}}
student:
  model: {{family: cifar_resnet, depth: 8, width: 2}}
method: {{name: continuation, smoothing_start: 2}}
training: {{epochs: 2, batch_size: 128}}
search:
  trials: 4
  space: {{learning_rate: {DIMENSION}}}
resources: {{parallel_trials: 1, precision: fp32}}
"""


@dataclass(frozen=True)
class Place:
    """Where a careless user works. All that autockd and Ray may write goes into `home`."""

    file: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOCKD", "MLFLOW"))}
        mine = {"AUTOCKD_CACHE": str(self.cache), "RAY_TMPDIR": str(self.home / "ray"), "OMP_NUM_THREADS": "1"}
        return {**clean, **IN_THE_ENVIRONMENT, **mine}

    @property
    def cache(self) -> Path:
        return self.home / f"cache-{CACHE_CANARY}"

    @property
    def study(self) -> Path:
        return self.home / "studies" / "careless"

    def leaks(self) -> list[str]:
        """Files that hold a canary, with what surrounds it."""
        found = []
        for path in sorted(self.home.rglob("*")):
            if path.is_file() and not path.is_symlink() and CANARY in (content := path.read_bytes()):
                position = content.index(CANARY)
                found.append(f"{path.relative_to(self.home)}: {content[max(0, position - 80) : position + 40]!r}")
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp())  # short, for Ray's sockets
    file = tmp_path_factory.mktemp("careless") / "careless.yaml"
    file.write_text(STUDY)
    with_database(home / "studies")
    yield Place(file, home)
    shutil.rmtree(home)


def finished_trials(ledger: Path) -> dict[int, TrialFinished]:
    found = events(ledger) if ledger.exists() else []
    return {event.trial: event for event in found if isinstance(event, TrialFinished)}


@pytest.fixture(scope="module")
def told(place: Place) -> str:
    """All that the study said. Its bank is another's by its last trial at the latest, which fails and names it."""
    command = [sys.executable, "-m", "autockd", "--verbose", "run", str(place.file)]
    log = place.home / "output.txt"
    with log.open("wb") as stream:
        running = subprocess.Popen(command, cwd=place.home, env=place.environment, stdout=stream, stderr=stream)
    ledger = place.study / "ledger.jsonl"
    try:
        while 1 not in finished_trials(ledger):
            assert running.poll() is None, log.read_text()
            time.sleep(0.02)
        for described in (place.cache / "banks").rglob("bank.json"):
            described.write_text("{}")
        assert running.wait(120) == 0, log.read_text()
    finally:
        running.kill()
    return log.read_text()


def test_trials_failed_with_a_credential_in_the_reason(place: Place, told: str) -> None:
    reasons = [event.reason for event in finished_trials(place.study / "ledger.jsonl").values() if event.reason]
    assert reasons
    assert all("/cache-***/banks" in reason for reason in reasons)


def test_nothing_that_a_study_writes_or_says_holds_a_credential(place: Place, told: str) -> None:
    written = {str(path.relative_to(place.home)) for path in place.home.rglob("*") if path.is_file()}
    expected = {"ledger.jsonl", "study.yaml", "optuna.journal", "bundle/manifest.json"}
    assert {f"studies/careless/{name}" for name in expected} | {"studies/mlflow.db", "output.txt"} <= written
    assert [name for name in written if name.startswith("ray/") and name.endswith((".log", ".out"))]
    assert place.leaks() == []


def test_the_note_is_still_of_use(place: Place, told: str) -> None:
    start = next(event for event in events(place.study / "ledger.jsonl") if isinstance(event, StudyStarted))
    assert "see http://***@wiki/page; curl -H 'Authorization: *** ***'; password: ***" in start.config["note"]


def test_mlflow_has_the_reasons_and_the_note_without_credentials(place: Place, told: str) -> None:
    with contextlib.closing(sqlite3.connect(place.study.parent / "mlflow.db")) as database:
        said = [text for table in ("tags", "params") for (text,) in database.execute(f"SELECT value FROM {table}")]
    assert [text for text in said if "/cache-***/banks" in text]
    assert [text for text in said if "http://***@wiki/page" in text]


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("tracking.uri=http://canaryUser@127.0.0.1:9", "tracking.uri"),
        ("tracking.uri=http://127.0.0.1:9/?token=canaryQuery", "tracking.uri"),
        (f"tracking.experiment={IN_THE_ENVIRONMENT['KAGGLE_KEY']}", "tracking.experiment"),
        ("teacher.model.weights=https://ada:canaryUser@hub/teacher.safetensors", "teacher.model.weights"),
        ("tracking.password=canaryPassword", "tracking.password"),
    ],
)
def test_a_credential_where_it_would_be_of_use_is_refused(
    override: str,
    field: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in IN_THE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "careless.yaml"
    file.write_text(STUDY)
    studies = tmp_path / "studies"
    assert main(["--verbose", "run", str(file), override, "--studies", str(studies), "--quiet"]) == 2
    output = capsys.readouterr()
    assert field in output.err
    assert "canary" not in output.err + output.out
    assert not studies.exists()
