"""A finished study's way into the model registry: what stands in the way of it is told, and never raised."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_bundle import with_hash, write_demo_bundle
from mlflow_events import whole_study, write

from autockd.records import Exported, StudyFinished
from autockd.registering import Outcome, register_bundle
from autockd.tracking import default_uri, sync

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Path:
    """A study that is finished, with its bundle, whose ONNX model is none of torch's, and a store that has its runs."""
    studies = with_database(tmp_path_factory.mktemp("studies"))
    folder = studies / "digits-demo"
    folder.mkdir()
    manifest_hash = write_demo_bundle(folder / "bundle")
    ledger = write(folder / "ledger.jsonl", [with_hash(event, manifest_hash) for event in whole_study()])
    sync(ledger, default_uri(studies), "digits")
    return studies


def outcome(folder: Path, uri: str) -> Outcome:
    return register_bundle(folder, uri, "digits")


def test_a_server_that_is_gone_is_told_of_and_made_good_later(studies: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        began = time.monotonic()
        found = outcome(studies / "digits-demo", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert time.monotonic() - began < 30
    assert (found.failed, found.is_new) == (True, False)
    assert "did not take the bundle" in found.text
    assert f"autockd sync {studies / 'digits-demo'}`" in found.text
    later = [outcome(studies / "digits-demo", default_uri(studies)) for _ in range(2)]
    assert [(each.failed, each.is_new) for each in later] == [(False, True), (False, False)]
    assert later[0].text == "registered in MLflow as digits version 1, champion: there was none before" == later[1].text


def test_what_is_not_the_studys_own_bundle_is_not_registered(studies: Path, tmp_path: Path) -> None:
    uri = default_uri(studies)
    other = Path(shutil.copytree(studies / "digits-demo", tmp_path / "other"))
    write_again(other, lambda event: with_hash(event, "00" * 32))
    assert "is not the bundle that the study wrote at its end" in outcome(other, uri).text
    (other / "bundle" / "README.md").write_text("changed")
    damaged = outcome(other, uri)
    assert damaged.failed
    assert "README.md" in damaged.text


def test_a_study_without_an_end_or_a_bundle_has_nothing_to_register(studies: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(studies / "digits-demo", tmp_path / "other"))
    for kind in (StudyFinished, Exported):
        write_again(other, lambda event, kind=kind: None if isinstance(event, kind) else event)  # type: ignore[misc]
        assert outcome(other, default_uri(studies)) == Outcome()


def write_again(folder: Path, change: object) -> None:
    """Write the ledger of a study, with its events changed, or left out where None takes their place."""
    assert callable(change)
    (folder / "ledger.jsonl").unlink()
    write(folder / "ledger.jsonl", [changed for event in whole_study() if (changed := change(event)) is not None])
