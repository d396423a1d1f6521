"""How a battered study has to end."""

from __future__ import annotations

from typing import Any

from battered import Battered
from invariant import check_invariant, check_mlflow, mlflow_runs, running, same
from tiny import Story

from autockd.study import Study
from autockd.tracking import events


def check_end(study: Battered, expected: Story) -> None:
    """The invariant, and MLflow after `sync`, twice: as a command, and as a function."""
    check_invariant(study.folder, study.seen, expected)
    told = events(study.folder / "ledger.jsonl")
    uri = f"sqlite:///{study.folder.parent / 'mlflow.db'}"

    def look() -> dict[str, Any]:
        return {key: run for key, run in mlflow_runs(uri, "digits").items() if is_of(run, study.name)}

    synced = study.command("sync")
    assert synced.wait() == 0, synced.stderr
    first = look()
    check_mlflow(first, told)
    Study.open(study.name, study.folder.parent).sync()
    again = look()
    assert not same(first, again), "a second sync changed something"
    study.figures.running += running(told, again)
    assert running(told, again) == 0


def is_of(run: dict[str, dict[str, str]], study: str) -> bool:
    tags = run["tags"]
    return tags.get("autockd.study") == study or tags.get("autockd.trial_key", "").startswith(f"{study}/")
