"""A study's student in MLflow's model registry: a version of its task's model, and the best of them the champion.

A version is the ONNX model with its signature and an example input, beside the whole bundle, as artifacts of the run of
the trial that it comes from. Nothing in it is a pickle. It becomes champion if it is the first of its name, or better
than the champion on the very same test split, by the mean over fresh seeds where both have one; else it is the
challenger.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from autockd.errors import EnvironmentProblem
from autockd.facts import Direction
from autockd.tracking.mlflow_lookup import find_runs, pages
from autockd.tracking.mlflow_store import alone, new_client

Alias = Literal["champion", "challenger"]

MANIFEST, METRIC, TEST, TEST_SPLIT = "autockd.manifest", "autockd.metric", "autockd.test", "autockd.test_fingerprint"
TEST_MEAN = "autockd.test_mean"
"""Over fresh seeds; a version whose configuration did not run with any has none."""
VERDICT = "autockd.verdict"
"""Written last: why a version got its alias. A version without it was cut off, and is judged when it is seen again."""

_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A bundle, and what it is judged by.

    Attributes:
        study, study_id: the study, as its run in MLflow names it.
        trial: the trial whose student it holds, or whose configuration ran again with a fresh seed.
        seed: that seed; None for the search's own student.
        folder: the bundle, verified.
        manifest_hash: of it; no two versions have the same.
        model: its ONNX model.
        example: inputs of that for one sample, by name.
        metric, direction: what it was judged by.
        test: its value on the test split; None where that was not measured.
        test_mean: the mean of its configuration over fresh seeds, likewise.
        test_fingerprint: of the test split.
    """

    study: str
    study_id: str
    trial: int
    seed: int | None = None
    folder: Path
    manifest_hash: str
    model: Path
    example: Mapping[str, np.ndarray]
    metric: str
    direction: Direction
    test: float | None
    test_mean: float | None = None
    test_fingerprint: str


@dataclass(frozen=True)
class Registration:
    """What became of a candidate.

    Attributes:
        name: of the registered model.
        version: its version there.
        alias: what it is now; empty where a later version has taken its place.
        reason: why it became what it was when it was registered.
        is_new: whether it was not there before, or was not judged.
    """

    name: str
    version: str
    alias: str
    reason: str
    is_new: bool

    def __str__(self) -> str:
        where = f"registered in MLflow as {self.name} version {self.version}"
        return f"{where}, {self.alias}: {self.reason}" if self.alias else f"{where}, which has no alias any more"


def register(uri: str, experiment: str, candidate: Candidate) -> Registration:
    """Make a candidate a version of the model that has the experiment's name; a second time changes nothing.

    Args:
        uri: MLflow's tracking URI; credentials come from the environment.
        experiment: the experiment's name, in which the study stands already.
        candidate: the bundle.

    Raises what MLflow and the network raise, and:
        EnvironmentProblem: the study is not in MLflow.
    """
    name = model_name(experiment)
    with alone(uri):
        client = new_client(uri)
        version = _version_of(client, name, candidate.manifest_hash)
        if version is not None and VERDICT in version.tags:
            _, _, reason = version.tags[VERDICT].partition(": ")
            return Registration(name, str(version.version), _alias(client, name, version), reason, is_new=False)
        if version is None:
            version = _new_version(client, name, _run_of(client, experiment, candidate), candidate)
        alias, reason = _judge(candidate, _champion(client, name, version))
        client.set_registered_model_alias(name, alias, version.version)
        client.set_model_version_tag(name, version.version, VERDICT, f"{alias}: {reason}")
    return Registration(name, str(version.version), alias, reason, is_new=True)


def model_name(experiment: str) -> str:
    """An experiment's name without what the registry's names may not hold."""
    return re.sub(r"[^\w. -]", "-", experiment).strip() or "unnamed"


def _version_of(client: Any, name: str, manifest_hash: str) -> Any:
    """The version that holds a bundle already; None if there is none."""
    condition = f"name = '{name}'"
    versions = pages(lambda token: client.search_model_versions(condition, max_results=_PAGE, page_token=token))
    return next((found for found in versions if found.tags.get(MANIFEST) == manifest_hash), None)


def _run_of(client: Any, experiment: str, candidate: Candidate) -> Any:
    """The run of the candidate's trial."""
    found = client.get_experiment_by_name(experiment)
    runs = find_runs(client, str(found.experiment_id), candidate.study, candidate.study_id) if found else {}
    run = runs.get(candidate.trial)
    if run is None:
        raise EnvironmentProblem(f"trial {candidate.trial} of {candidate.study} is not in MLflow")
    return client.get_run(run.run_id)


def _new_version(client: Any, name: str, run: Any, candidate: Candidate) -> Any:
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory(prefix="autockd-model-") as folder:
        save_as_mlflow_model(candidate, Path(folder) / "model")
        client.log_artifacts(run.info.run_id, str(Path(folder) / "model"), "model")
    for path in sorted(candidate.folder.iterdir()):
        if not path.name.startswith("."):  # a repository that somebody began there is no part of the bundle
            client.log_artifact(run.info.run_id, str(path), "bundle")
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description="Students that autockd distilled for this task.")
    tags = {
        "autockd.study": candidate.study,
        "autockd.trial": str(candidate.trial),
        MANIFEST: candidate.manifest_hash,
        METRIC: candidate.metric,
        TEST_SPLIT: candidate.test_fingerprint,
        **{key: repr(value) for key, value in _measured(candidate).items() if value is not None},
    }
    source = f"{run.info.artifact_uri}/model"
    again = "" if candidate.seed is None else f", run again with the fresh seed {candidate.seed}"
    text = f"Trial {candidate.trial} of {candidate.study}{again}; its bundle lies beside it."
    return client.create_model_version(name, source, run.info.run_id, tags=tags, description=text)


def _measured(candidate: Candidate) -> dict[str, float | None]:
    return {TEST: candidate.test, TEST_MEAN: candidate.test_mean, "autockd.seed": candidate.seed}


def save_as_mlflow_model(candidate: Candidate, folder: Path) -> None:
    """Write the ONNX model as a folder that MLflow loads: ONNX, JSON and YAML, no pickle."""
    import mlflow.onnx
    import onnx
    import onnxruntime

    model = onnx.load(candidate.model, load_external_data=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on how to make signatures, which is made already
        mlflow.onnx.save_model(
            model,
            str(folder),
            signature=_signature(model),
            input_example=dict(candidate.example),
            pip_requirements=[f"onnx=={onnx.__version__}", f"onnxruntime=={onnxruntime.__version__}"],
            onnx_execution_providers=["CPUExecutionProvider"],
            metadata={"autockd.manifest": candidate.manifest_hash},
            save_as_external_data=False,
        )


def _signature(model: Any) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    def schema(values: Any) -> Any:
        specs = []
        for value in values:
            tensor = value.type.tensor_type
            shape = tuple(-1 if axis.dim_param else axis.dim_value for axis in tensor.shape.dim)
            specs.append(TensorSpec(np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)), shape, value.name))
        return Schema(specs)

    return ModelSignature(schema(model.graph.input), schema(model.graph.output))


def _alias(client: Any, name: str, version: Any) -> str:
    """What a version is called now; empty where it has no alias, or where somebody took it away."""
    aliases = client.get_registered_model(name).aliases
    return next((alias for alias in ("champion", "challenger") if str(aliases.get(alias)) == str(version.version)), "")


def _champion(client: Any, name: str, version: Any) -> Any:
    """The champion, unless it is this very version; None where there is none."""
    number = client.get_registered_model(name).aliases.get("champion")
    if number is None or str(number) == str(version.version):
        return None
    return client.get_model_version(name, str(number))


def _judge(candidate: Candidate, champion: Any) -> tuple[Alias, str]:
    """What a candidate becomes beside the champion, and why."""
    if champion is None:
        return "champion", "there was none before"
    other = f"version {champion.version}, the champion"
    if candidate.test is None or TEST not in champion.tags:
        return "challenger", f"it cannot be compared with {other}, for one of them has no test metric"
    if champion.tags.get(METRIC) != candidate.metric:
        return "challenger", f"it cannot be compared with {other}, which was judged by another metric"
    if not candidate.test_fingerprint or champion.tags.get(TEST_SPLIT) != candidate.test_fingerprint:
        return "challenger", f"it cannot be compared with {other}, which was judged on another test split"
    own, its, what = candidate.test, float(champion.tags[TEST]), f"test {candidate.metric}"
    if candidate.test_mean is not None and TEST_MEAN in champion.tags:  # a single run may be lucky
        own, its, what = candidate.test_mean, float(champion.tags[TEST_MEAN]), f"mean {what} over fresh seeds"
    values = f"{what} {own:.4f} %s {its:.4f} of {other}"
    if own > its if candidate.direction == "maximize" else own < its:
        return "champion", values % "beats"
    return "challenger", values % "does not beat"
