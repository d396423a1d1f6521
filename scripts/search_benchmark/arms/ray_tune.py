"""Ray Tune with OptunaSearch and a function trainable: the naive arm, the tuned one, and torchdistill's.

python -m search_benchmark.arms.ray_tune FOLDER OUT --trials 32 --arm naive
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autockd.processor import usable_cores
from search_benchmark.setting import Result, Setting

ARMS = ("naive", "tuned", "torchdistill")


def trial(config: dict[str, Any], setting: Setting, out: Path, arm: str, seed: int) -> None:
    """The trainable: one configuration, reported after each epoch, the best weights kept."""
    from ray import tune

    torch.manual_seed(seed)
    if arm == "tuned":
        torch.set_num_threads(cores_of(setting))
    best = -1.0
    for metric, student in epochs_of(config, setting, arm):
        if metric > best:
            best = metric
            torch.save(student.state_dict(), weights_of(config, out))
        tune.report({"metric": metric, "best_metric": best, "ended": time.time()})


def weights_of(config: dict[str, Any], out: Path) -> Path:
    """Where a trial keeps its weights. Not in Tune's folder: a reused actor is told that of the trial before."""
    return out / f"best-{'-'.join(f'{config[name]:.9g}' for name in sorted(config))}.pt"


def cores_of(setting: Setting) -> int:
    """A trial's share of the cores, all of which are in use."""
    return max(1, usable_cores() // setting.parallel)


def epochs_of(config: dict[str, Any], setting: Setting, arm: str) -> Iterator[tuple[float, nn.Module]]:
    """The validation metric and the student after each epoch."""
    if arm == "torchdistill":
        from search_benchmark.arms.torchdistill import train

        return train(config, setting)
    if setting.kind == "image":
        from search_benchmark.arms import images as task
    else:
        from search_benchmark.arms import texts as task  # type: ignore[no-redef]
    return task.train(config, setting, tuned=arm == "tuned")


def search(setting: Setting, out: Path, trials: int, arm: str, seed: int) -> Result:
    """The whole search, MLflow and the best student's test metric with it."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    points = setting.points[:trials]
    space = {name: tune.uniform(-1e9, 1e9) for name in points[0]}  # only its names matter: every point is given
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, setting=setting, out=out, arm=arm, seed=seed),
            {"cpu": cores_of(setting), "gpu": setting.gpus},
        ),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric="metric", mode="max", points_to_evaluate=points),
            num_samples=trials,
            max_concurrent_trials=setting.parallel,
            reuse_actors=arm == "tuned",
        ),
        run_config=tune.RunConfig(
            name=arm,
            storage_path=str(out),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{out}/mlflow.db", experiment_name="benchmark")],
        ),
    )
    found = tuner.fit()
    if found.num_errors:
        raise SystemExit(f"{found.num_errors} trials failed: {found.errors[0]}")
    best = found.get_best_result("best_metric", "max")
    assert best.config is not None, "every trial has one"
    test(setting, weights_of(best.config, out))
    rows = [result.metrics for result in found]
    order = {tuple(sorted(point.items())): place for place, point in enumerate(points)}
    metrics = [0.0] * trials
    for row in rows:
        metrics[order[tuple(sorted(row["config"].items()))]] = row["best_metric"]
    return Result(metrics, sorted(row["ended"] for row in rows))


def test(setting: Setting, weights: Path) -> float:
    """The best student's test metric."""
    device = torch.device("cpu")
    if setting.kind == "image":
        from torch.utils.data import DataLoader

        from search_benchmark.arms import images

        student = images.load_model(setting, "student")
        student.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        loader = DataLoader(images.Images(setting, "test"), batch_size=images.EVALUATION_BATCH)
        return images.accuracy(student, loader, device)
    from torch.utils.data import DataLoader
    from transformers import DataCollatorWithPadding

    from search_benchmark.arms import texts

    student = texts.load_model(setting, "student")
    student.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    tokenizer = texts.load_tokenizer(setting)
    split = texts.Tokenized(setting, "test", tokenizer, padded=False)
    loader = DataLoader(split, batch_size=texts.EVALUATION_BATCH, collate_fn=DataCollatorWithPadding(tokenizer))
    return texts.accuracy(student, loader, device)


@contextmanager
def ray() -> Iterator[None]:
    """Ray as it is without autockd's settings, but on the loopback interface alone."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the comparison's folder")
    parser.add_argument("out", type=Path, help="an empty folder for what this run writes")
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the order of samples and of their augmentation")
    parser.add_argument("--arm", choices=ARMS, required=True)
    options = parser.parse_args()
    with ray():
        result = search(Setting.load(options.folder), options.out, options.trials, options.arm, options.seed)
    result.save(options.out / "result.json")


if __name__ == "__main__":
    main()
