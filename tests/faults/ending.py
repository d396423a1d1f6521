"""How a battered study has to end."""

from __future__ import annotations

from battered import Battered
from invariant import check_invariant, check_mlflow, mlflow_runs, running, same
from tiny import Story

from autockd.tracking import events


def check_end(study: Battered, expected: Story) -> None:
    """The invariant, and MLflow after `sync`, twice."""
    check_invariant(study.folder, study.seen, expected)
    told = events(study.folder / "ledger.jsonl")
    uri = f"sqlite:///{study.folder.parent / 'mlflow.db'}"
    looks = []
    for _ in range(2):
        synced = study.command("sync")
        assert synced.wait() == 0, synced.stderr
        looks.append({key: run for key, run in mlflow_runs(uri, "digits").items() if is_of(run, study.name)})
    check_mlflow(looks[0], told)
    assert not same(*looks), "a second sync changed something"
    study.figures.running += running(told, looks[1])
    assert running(told, looks[1]) == 0


def is_of(run: dict[str, dict[str, str]], study: str) -> bool:
    tags = run["tags"]
    return tags.get("autockd.study") == study or tags.get("autockd.trial_key", "").startswith(f"{study}/")
