"""What all tests share: one thread, a cache of their own, a tiny task of real images and an untrained teacher of it."""

from __future__ import annotations

import gc
import os
import shutil
import warnings

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: two busy OpenMP threads slow each other down
os.environ.pop("MLFLOW_TRACKING_URI", None)  # no test writes to whoever's server that is
os.environ.pop("AUTOCKD_STUDIES", None)
os.environ.pop("FORCE_COLOR", None)  # what is written is compared
os.environ.pop("NO_COLOR", None)
os.environ.pop("TTY_COMPATIBLE", None)
os.environ.pop("TTY_INTERACTIVE", None)
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)
os.environ["TERM"] = "xterm"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # the servers of tests are here

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from autockd.config.methods import METHOD_CONFIGS
from autockd.config.models import CifarResNet
from autockd.config.tasks import Augmentation, Digits
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.folders import CACHE_ENV
from autockd.garbage import look_seldom
from autockd.records import PrecisionChoice

if TYPE_CHECKING:  # pytest-xdist's own process reads this file too, and would import torch before its workers start
    from autockd.data import HeldOut, Task
    from autockd.training.live_teacher import LiveTeacher

look_seldom()  # while tests and what they test are imported

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no mistake
hypothesis.settings.load_profile("unhurried")

TEACHER, STUDENT = CifarResNet(depth=8, width=4), CifarResNet(depth=8, width=2)
RECIPE = {"epochs": 4, "batch_size": 32, "learning_rate": 0.1}
METHODS: dict[str, dict[str, Any]] = {
    "none": {},
    "kd": {},
    "takd": {},
    "annealing": {"smoothing_start": 2},
    "continuation": {"smoothing_start": 3, "margin": 0.1},
}
"""Settings that fit four epochs."""

MakeTrial = Callable[..., TrialConfig]
MakeEncoder = Callable[..., Path]


def pytest_collection_finish() -> None:
    """What imports have made stays: a search for garbage need not look through it, test after test."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of teachers and banks; no test reads or fills the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_ENV, str(folder))
        yield folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of larger data sets, from AUTOCKD_TEST_DATA or beside the checkout; skips where there is none."""
    named = os.environ.get("AUTOCKD_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is no folder; set AUTOCKD_TEST_DATA to the one with the test data")
    return folder


@pytest.fixture(scope="session")
def digits() -> tuple[Task, HeldOut]:
    """120 training, 40 validation and 90 test images of 8x8 pixels; 18 views of each."""
    from autockd.data import load_task

    augmentation = Augmentation(crop_padding=1, flip=True)
    config = Digits(limit_train=160, validation_fraction=0.25, limit_test=90, augmentation=augmentation)
    return load_task(config)


@pytest.fixture(scope="session")
def task(digits: tuple[Task, HeldOut]) -> Task:
    """The part of `digits` that a trial sees."""
    return digits[0]


@pytest.fixture
def live(task: Task) -> LiveTeacher:
    """A teacher with fresh weights: as good as any where only its answers count."""
    return _teacher(task)


@pytest.fixture(scope="session")
def shared_live(task: Task) -> LiveTeacher:
    """The same teacher, made once: for tests that do no more than ask it."""
    return _teacher(task)


def _teacher(task: Task) -> LiveTeacher:
    import torch

    from autockd.training.live_teacher import LiveTeacher
    from autockd.training.networks import build_network

    return LiveTeacher(TEACHER, build_network(TEACHER, task, seed=7), task, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> MakeEncoder:
    """Gives the folder that `make_tiny_encoder` makes with the same options; made once: who changes one, copies it."""
    made: dict[str, Path] = {}

    def give(**options: Any) -> Path:
        from encoders import make_tiny_encoder

        options = {"family": "bert", **options}
        name = "-".join(["encoder", *(f"{option}-{options[option]}" for option in sorted(options))])
        if name not in made:
            made[name] = make_tiny_encoder(tmp_path_factory.mktemp(name), **options)
        return made[name]

    return give


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database that MLflow has migrated; doing so takes seconds."""
    from autockd.tracking.mlflow_store import default_uri, new_client

    folder = tmp_path_factory.mktemp("template")
    with warnings.catch_warnings():  # of MLflow 3.17 under SQLAlchemy 2.1, whichever test comes first
        warnings.simplefilter("ignore")
        new_client(default_uri(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def with_database(template: Path) -> Callable[[Path], Path]:
    """Puts MLflow's database into a folder of studies, as an earlier study leaves it; gives the folder."""

    def give(studies: Path) -> Path:
        studies.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, studies / "mlflow.db")
        return studies

    return give


@pytest.fixture(scope="session")
def fp32() -> PrecisionChoice:
    """Plain arithmetic on one thread of the CPU."""
    return PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="the tests say so")


@pytest.fixture(scope="session")
def make_trial() -> MakeTrial:
    """Makes trials of a method: four epochs of four steps (the last is smaller), with what is named changed."""

    def make(name: str, settings: dict[str, Any] | None = None, *, seed: int = 0, **training: Any) -> TrialConfig:
        method = METHOD_CONFIGS[name](**METHODS[name] | (settings or {}))
        recipe = TrainingConfig.model_validate(RECIPE | training)
        return TrialConfig(method=method, training=recipe, student=STUDENT, seed=seed)  # type: ignore[arg-type]

    return make
