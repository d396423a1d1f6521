"""Every place that the list beside `READERS` in `autockd.data.load` names knows every source of data."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest

from autockd.cli.inputs import input_problems
from autockd.config.loading import with_absolute_paths
from autockd.config.schema import StudyConfig
from autockd.config.tasks import ImageTaskConfig, TaskConfig, TextTaskConfig, is_on_hub
from autockd.data.load import READERS, TEXT_READERS
from autockd.data.sources.raw import RawImages, Samples
from autockd.data.splits import choose_rows
from autockd.errors import ExportError
from autockd.export.card_metadata import dataset_name
from autockd.exporting import _trusted
from autockd.history import MOVED

Source = type[Any]
ABSENT, ON_HUB = "absent/own.csv", "owner/set"
BY_SOURCE: dict[str, Source] = {
    get_args(config.model_fields["source"].annotation)[0]: config
    for config in (*get_args(ImageTaskConfig), *get_args(TextTaskConfig))
}


def locations(config: Source) -> list[str]:
    """Fields that say where data lie."""
    fields = config.model_fields.items()
    return [name for name, field in fields if name == "path" or Path in (field.annotation, *get_args(field.annotation))]


def may_be_on_hub(config: Source) -> bool:
    return "path" in config.model_fields and config.model_fields["path"].annotation is str


def task_of(config: Source, **settings: Any) -> Any:
    """A task of a source, whose required fields have some value: its data are not there."""
    values: dict[str, Any] = dict.fromkeys(locations(config), ABSENT)
    for name, field in config.model_fields.items():
        if field.is_required() and name not in values:
            is_choice = get_origin(field.annotation) is Literal
            values[name] = get_args(field.annotation)[0] if is_choice else "x"
    return config(**values | settings)


def study_of(task: TaskConfig) -> StudyConfig:
    model: dict[str, Any] = {"family": "cifar_resnet"} if task.kind == "image" else {"family": "encoder", "path": "a/b"}
    return StudyConfig.model_validate(
        {"name": "s", "task": task.model_dump(), "teacher": {"model": model}, "student": {"model": model}}
    )


each_source = pytest.mark.parametrize("config", BY_SOURCE.values(), ids=BY_SOURCE)
each_place = pytest.mark.parametrize(
    ("config", "field"),
    [
        pytest.param(config, field, id=f"{source}.{field}")
        for source, config in BY_SOURCE.items()
        for field in locations(config)
    ],
)
ON_HUBS = {source: config for source, config in BY_SOURCE.items() if may_be_on_hub(config)}
each_on_hub = pytest.mark.parametrize("config", ON_HUBS.values(), ids=ON_HUBS)


def test_every_source_has_a_reader() -> None:
    for place, readers, union in (
        ("READERS", READERS, ImageTaskConfig),
        ("TEXT_READERS", TEXT_READERS, TextTaskConfig),
    ):
        sources = {source for source, config in BY_SOURCE.items() if config in get_args(union)}
        assert set(readers) == sources, f"autockd.data.load.{place} and autockd.config.tasks differ"


@each_source
def test_its_task_says_what_it_is(config: Source) -> None:
    task = task_of(config)
    assert task.name
    assert isinstance(task.is_regression, bool)
    assert isinstance(task.is_binary, bool)


@each_place
def test_data_that_are_not_there_are_told_before_anything_is_read(config: Source, field: str, tmp_path: Path) -> None:
    study = study_of(task_of(config, **{field: str(tmp_path / ABSENT)}))
    told = {problem.field for problem in input_problems(study, "s.yaml")}
    assert f"task.{field}" in told, (
        f"autockd.cli.inputs._missing_data does not look for task.{field} of {config.__name__}"
    )


@each_place
def test_data_may_be_moved(config: Source, field: str) -> None:
    assert f"task.{field}" in MOVED, f"autockd.history.MOVED lacks task.{field}, of {config.__name__}"


@each_place
def test_places_count_from_the_study_file(config: Source, field: str, tmp_path: Path) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / ABSENT).touch()
    task = with_absolute_paths(study_of(task_of(config)), tmp_path).task
    place = str(getattr(task, field))
    assert place == str(tmp_path / ABSENT), f"autockd.config.loading._HUB_OR_LOCAL lacks {config.__name__}"


@each_on_hub
def test_hub_ids_are_known_as_such(config: Source, tmp_path: Path) -> None:
    others = {name: None for name in locations(config) if name != "path"}
    task = task_of(config, **others, path=ON_HUB)
    assert with_absolute_paths(study_of(task), tmp_path).task.path == ON_HUB  # type: ignore[union-attr]
    (tmp_path / ON_HUB).mkdir(parents=True)
    local = with_absolute_paths(study_of(task), tmp_path).task.path  # type: ignore[union-attr]
    assert local == str(tmp_path / ON_HUB), f"autockd.config.loading._HUB_OR_LOCAL lacks {config.__name__}"
    assert is_on_hub(task), f"autockd.config.tasks.is_on_hub lacks {config.__name__}"


@each_source
def test_a_bundle_has_a_name_for_its_data(config: Source) -> None:
    try:
        assert dataset_name(SimpleNamespace(task=task_of(config)))  # type: ignore[arg-type]
    except AttributeError as error:
        pytest.fail(f"autockd.export.card_metadata.dataset_name has no case for {config.__name__} ({error})")


@each_source
def test_a_bundle_s_own_data_are_read_only_where_they_are_here(config: Source, tmp_path: Path) -> None:
    """A bundle may come from anywhere."""
    if not locations(config):
        assert _trusted(task_of(config), tmp_path) == task_of(config)
        return
    absent = str(tmp_path / ABSENT)
    task = task_of(config, **dict.fromkeys(locations(config), absent))
    try:
        _trusted(task, tmp_path)
    except ExportError:
        return
    pytest.fail(f"autockd.exporting._trusted lets {config.__name__} be read from anywhere")


@each_source
def test_nothing_is_downloaded_that_a_bundle_names(config: Source, tmp_path: Path) -> None:
    if "download" in config.model_fields:
        here = dict.fromkeys(locations(config), str(tmp_path))
        trusted = _trusted(task_of(config, **here, download=True), tmp_path)
        assert not getattr(trusted, "download"), f"autockd.exporting._trusted lets {config.__name__} download"  # noqa: B009


@each_source
def test_a_source_without_a_test_split_sets_some_samples_aside_unless_it_always_has_one(config: Source) -> None:
    targets = np.arange(40, dtype=np.int64) % 2
    raw = RawImages("x", ("a", "b"), Samples(targets, lambda rows: pytest.fail("nothing is decoded")))
    if "test_fraction" in config.model_fields:
        rows = choose_rows(raw, task_of(config))
        assert len(rows.test), f"{config.__name__} has a test_fraction, which autockd.data.splits does not use"
        return
    told = f"name {config.__name__} in the assertion of autockd.data.splits.choose_rows, or give it a test_fraction"
    try:
        choose_rows(raw, task_of(config))
    except AssertionError:
        return
    except AttributeError as error:
        pytest.fail(f"{told} ({error})")
    pytest.fail(told)
