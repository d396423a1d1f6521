"""A comparison's page in a real MLflow: every trial stands on every axis, and arms of one method are told apart."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow_events import client, runs_of, write
from sample_records import study_started

from autockd.config import StudyConfig
from autockd.config.arms import Arm, arms_of
from autockd.config.trial import default_params, trial_config
from autockd.records import Event, TrialFinished, TrialStarted
from autockd.tracking import default_uri, sync
from autockd.tracking.saved_views import VIEW_TAG, has_views

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

MODEL = {"family": "cifar_resnet", "depth": 8}
STUDY = StudyConfig.model_validate(
    {
        "name": "rivals",
        "task": {"source": "digits"},
        "teacher": {"model": MODEL},
        "student": {"model": MODEL},
        "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.1},
        "method": {"name": "continuation"},
        "compare": [
            {"name": "none"},
            {"name": "kd"},
            {"name": "kd", "standardise_logits": True},
            {"name": "dkd"},
            {"name": "dist"},
            {"name": "continuation", "granularity": "step"},
        ],
        "search": {
            "trials": 1,
            "space": {
                "learning_rate": {"type": "float", "low": 0.05, "high": 0.3, "log": True},
                "hard_loss_ramp": {"type": "float", "low": 0.3, "high": 1.0},
                "soft_loss_weight": {"type": "float", "low": 0.1, "high": 10.0, "log": True},
            },
        },
    }
)
ARMS = [arm.label for arm in arms_of(STUDY)]


def trial_of(arm: Arm) -> list[Event]:
    """Its own values, which are its first trial."""
    start = TrialStarted(
        time=100.0 + arm.first,
        trial=arm.first,
        role="default",
        method=arm.study.method.name,
        params=default_params(arm.study),
        config=trial_config(arm.study, {}).model_dump(mode="json"),
        fingerprint="ab" * 32,
        conventions="CE",
        arm=arm.label,
    )
    end = TrialFinished(time=200.0 + arm.first, trial=arm.first, state="complete", value=0.9, epochs=10, seconds=1.0)
    return [start, end]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> str:
    """Where the comparison is."""
    if not has_views(mlflow.__version__):
        pytest.skip(f"MLflow {mlflow.__version__} does not show the views that are written")
    studies = with_database(tmp_path_factory.mktemp("studies"))
    told = [study_started(STUDY), *(event for arm in arms_of(STUDY) for event in trial_of(arm))]
    sync(write(studies / STUDY.name / "ledger.jsonl", told), default_uri(studies), "digits")
    return default_uri(studies)


@pytest.fixture(scope="module")
def view(uri: str) -> dict[str, Any]:
    """The page's state, as MLflow keeps it."""
    tags = client(uri).get_experiment_by_name("digits").tags
    (saved,) = [value for key, value in tags.items() if key.startswith(VIEW_TAG)]
    packed = json.loads(saved)["state"].partition(";")[2]
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


@pytest.fixture(scope="module")
def params(uri: str) -> dict[str, dict[str, str]]:
    """Each arm's trial."""
    runs = [run.data for run in runs_of(uri) if run.data.tags["autockd.kind"] == "trial"]
    return {run.tags["autockd.arm"]: run.params for run in runs}


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_no_trial_is_left_out_of_an_axis(view: dict[str, Any], params: dict[str, dict[str, str]]) -> None:
    """MLflow leaves out runs without the param, and those with text in it where another has a number."""
    (parallel,) = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert params.keys() == set(ARMS)
    for name in parallel["selectedParams"]:
        shown = [of_arm[name] for of_arm in params.values()]
        assert len({is_number(text) for text in shown}) == 1, f"{name}: {shown}"


def test_what_the_arms_search_has_axes_columns_and_slices(view: dict[str, Any]) -> None:
    charts = view["compareRunCharts"]
    (parallel,) = [chart for chart in charts if chart["type"] == "PARALLEL"]
    assert parallel["selectedParams"][:3] == ["axis_arm", "log10_learning_rate", "axis_alpha"]
    assert {"axis_temperature", "axis_target_weight", "axis_hard_loss_ramp"} <= set(parallel["selectedParams"])
    slices = [chart["xaxis"]["key"] for chart in charts if chart["metricSectionId"] == "slices"]
    assert {"axis_arm", "alpha", "log10_temperature", "log10_target_weight"} <= set(slices)
    columns = [name for name in view["selectedColumns"] if name.startswith("params.")]
    assert columns[:3] == ["params.`arm`", "params.`learning_rate`", "params.`alpha`"]
    assert {"params.`temperature`", "params.`target_weight`", "params.`soft_loss_weight`"} <= set(columns)
    assert "params.`method`" not in columns


def test_two_arms_of_one_method_are_told_apart(params: dict[str, dict[str, str]]) -> None:
    assert params["kd"]["method"] == params["kd-std"]["method"] == "kd"
    assert {label: of_arm["arm"] for label, of_arm in params.items()} == {label: label for label in ARMS}
    assert len({of_arm["axis_arm"] for of_arm in params.values()}) == len(ARMS)


def test_what_an_arm_does_not_search_is_said_to_be_none(params: dict[str, dict[str, str]]) -> None:
    assert (params["none"]["alpha"], params["none"]["axis_alpha"]) == ("na", "na")
    assert params["continuation"]["target_weight"] == "na"
    assert params["dkd"]["axis_target_weight"] != "na"
