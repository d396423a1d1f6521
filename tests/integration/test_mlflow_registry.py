"""Students in a real MLflow model registry on a SQLite file: champion, challengers, and nothing twice."""

from __future__ import annotations

import pickletools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow_events import client, whole_study, write
from small_graph import save_small_graph

from autockd.errors import EnvironmentProblem
from autockd.records import StudyStarted
from autockd.tracking import default_uri, sync
from autockd.tracking import mlflow_registry as registry
from autockd.tracking.mlflow_fields import study_id
from autockd.tracking.mlflow_registry import Candidate, model_name, register

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

Make = Callable[..., Candidate]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> str:
    """A store that has the runs of a study."""
    folder = with_database(tmp_path_factory.mktemp("studies"))
    found = default_uri(folder)
    sync(write(folder / "ledger.jsonl", whole_study()), found, "digits")
    return found


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes bundles of that study, each of its own hash."""
    (start,) = [event for event in whole_study() if isinstance(event, StudyStarted)]
    folder = tmp_path_factory.mktemp("bundle")
    save_small_graph(folder / "model.onnx", 4)
    (folder / "manifest.json").write_text("{}")

    def candidate(manifest_hash: str, test: float | None = 0.9, **changes: Any) -> Candidate:
        plain = Candidate(
            study=start.study,
            study_id=study_id(start),
            trial=1,
            folder=folder,
            manifest_hash=manifest_hash,
            model=folder / "model.onnx",
            example={"pixels": np.ones((1, 4), np.float32)},
            metric="accuracy",
            direction="maximize",
            test=test,
            test_fingerprint="f1",
        )
        return replace(plain, **changes)

    return candidate


def content(uri: str) -> dict[str, Any]:
    """Everything that is registered, with the moments of change."""
    found = client(uri)
    return {
        model.name: (
            {alias: str(version) for alias, version in model.aliases.items()},
            [
                (version.version, version.tags, version.last_updated_timestamp, version.source)
                for version in found.search_model_versions(f"name = '{model.name}'")
            ],
        )
        for model in found.search_registered_models()
    }


def aliases(uri: str) -> dict[str, str]:
    found: dict[str, str] = content(uri)["digits"][0]
    return found


@pytest.fixture(scope="module")
def saved(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model as MLflow keeps it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    registry.save_as_mlflow_model(make("saved"), folder)
    return folder


@pytest.fixture
def saved_once(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All versions hold the same model, for MLflow takes a second to save one; for tests of which version is what."""
    monkeypatch.setattr(registry, "save_as_mlflow_model", lambda candidate, folder: shutil.copytree(saved, folder))


@pytest.fixture
def empty(uri: str) -> str:
    """The store, with nothing registered."""
    found = client(uri)
    for model in found.search_registered_models():
        found.delete_registered_model(model.name)
    return uri


@pytest.mark.usefixtures("saved_once")
def test_the_best_on_the_same_test_split_is_the_champion(empty: str, make: Make) -> None:
    steps = [
        (make("h1"), "champion", "there was none before", ("1", None)),
        (
            make("h2", 0.8),
            "challenger",
            "0.8000 does not beat 0.9000 of version 1",
            ("1", "2"),
        ),
        (make("h3", 0.9), "challenger", "does not beat", ("1", "3")),
        (make("h4", 0.95), "champion", "0.9500 beats 0.9000 of version 1", ("4", "3")),
        (
            make("h5", 0.99, test_fingerprint="f2"),
            "challenger",
            "another test split",
            ("4", "5"),
        ),
        (
            make("h6", 0.99, test_fingerprint=""),
            "challenger",
            "another test split",
            ("4", "6"),
        ),
        (make("h7", 0.99, metric="f1"), "challenger", "another metric", ("4", "7")),
        (make("h8", None), "challenger", "no test metric", ("4", "8")),
        (make("h9", 0.96, test_mean=0.94, seed=3), "champion", "0.9600 beats 0.9500 of version 4", ("9", "8")),
        (
            make("h10", 0.99, test_mean=0.93),
            "challenger",
            "mean test accuracy over fresh seeds 0.9300 does not beat 0.9400 of version 9",
            ("9", "10"),
        ),
        (make("h11", 0.91, test_mean=0.95), "champion", "fresh seeds 0.9500 beats 0.9400 of version 9", ("11", "10")),
    ]
    for candidate, alias, reason, after in steps:
        found = register(empty, "digits", candidate)
        assert (found.alias, found.is_new, found.name) == (alias, True, "digits")
        assert reason in found.reason
        assert (aliases(empty)["champion"], aliases(empty).get("challenger")) == after
    before = content(empty)
    for number, (candidate, _, reason, _) in enumerate(steps, start=1):
        again = register(empty, "digits", candidate)
        now = {10: "challenger", 11: "champion"}.get(number, "")  # others have taken the place of all before
        assert (again.version, again.alias, again.is_new) == (str(number), now, False)
        assert reason in again.reason
        assert now in str(again)
        assert ("which has no alias any more" in str(again)) is not bool(now)
    assert content(empty) == before


@pytest.mark.usefixtures("saved_once")
def test_what_is_less_of_a_metric_that_is_to_fall_wins(empty: str, make: Make) -> None:
    lower = {"metric": "loss", "direction": "minimize"}
    first, second = make("m1", 0.5, **lower), make("m2", 0.4, **lower)
    assert register(empty, "digits", first).alias == "champion"
    assert register(empty, "digits", second).reason == "test loss 0.4000 beats 0.5000 of version 1, the champion"


def test_a_version_has_signature_example_and_bundle_and_no_pickle(uri: str, make: Make, tmp_path: Path) -> None:
    import mlflow.onnx
    from mlflow.models import Model

    found = register(uri, "digits", make("artifacts"))
    own = client(uri)
    version = own.get_model_version("digits", found.version)
    run = own.get_run(version.run_id)
    assert run.data.tags["autockd.trial_key"] == "digits-demo/1"
    folder = Path(own.download_artifacts(version.run_id, "", str(tmp_path)))
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {str(path.relative_to(folder)) for path in files}
    assert names >= {"model/MLmodel", "model/model.onnx", "model/input_example.json", "bundle/manifest.json"}
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".bin") or is_pickle(path)]
    described = Model.load(str(folder / "model"))
    assert described.signature.inputs.to_dict()[0]["tensor-spec"] == {"dtype": "float32", "shape": (-1, 4)}
    assert described.signature.outputs.to_dict()[0]["name"] == "logits"
    assert "python_function" in described.flavors
    assert described.flavors["onnx"]["data"] == "model.onnx"
    loaded = mlflow.onnx.load_model(str(folder / "model"))
    assert loaded.SerializeToString() == (folder / "bundle" / "model.onnx").read_bytes()
    example = described.load_input_example(str(folder / "model"))
    np.testing.assert_array_equal(example["pixels"], np.ones((1, 4), np.float32))


def is_pickle(path: Path) -> bool:
    try:
        return sum(1 for _ in pickletools.genops(path.read_bytes())) > 1
    except Exception:
        return False


def test_what_was_cut_off_is_judged_when_it_is_seen_again(
    uri: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: Any) -> Any:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_judge", cut)
        with pytest.raises(ConnectionError):
            register(uri, "digits", make("cut", 0.1))
    found = register(uri, "digits", make("cut", 0.1))
    assert (found.is_new, found.alias) == (True, "challenger")
    (twice,) = [v for v in client(uri).search_model_versions("name = 'digits'") if v.tags[registry.MANIFEST] == "cut"]
    assert twice.tags[registry.VERDICT].startswith("challenger: ")


def test_a_study_that_mlflow_does_not_have_is_named(uri: str, make: Make) -> None:
    with pytest.raises(EnvironmentProblem, match="trial 77 of digits-demo is not in MLflow"):
        register(uri, "digits", make("other", trial=77))
    with pytest.raises(EnvironmentProblem, match="is not in MLflow"):
        register(uri, "nowhere", make("other"))


def test_names_are_what_the_registry_takes() -> None:
    assert [model_name(name) for name in ("digits", "a/b:c", "it's", "", "é 1.0_x-y")] == [
        *("digits", "a-b-c", "it-s", "unnamed", "é 1.0_x-y"),
    ]
