"""What a study is refused for before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from encoders import make_text_task
from torchvision.ops import StochasticDepth

from autockd.checking import (
    _has_dropout,
    check_models,
    check_pick,
    check_plans,
    check_study,
    check_tracking,
    normalisation_told,
    overlaps_told,
)
from autockd.config.budget import check_budget
from autockd.config.methods import ContinuationKD, HintonKD, NoDistillation
from autockd.config.models import Encoder
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig
from autockd.config.space import Choice, IntRange
from autockd.data import HeldOut, Split, Task, Texts, load_task
from autockd.errors import ConfigError, ModelError
from autockd.models import save_weights
from autockd.pipeline import _begin
from autockd.records import Event, Noted
from autockd.session import open_session
from autockd.training.networks import build_network

DEEP = {"family": "torchvision", "name": "resnet18"}
"""Its last stage sees a digit of 8x8 pixels as one."""
BASELINES = (NoDistillation(), HintonKD())
SHALLOW = {"family": "cifar_resnet", "depth": 8, "width": 4}


def study(teacher: dict[str, Any], student: dict[str, Any], taught: int, batch_size: int) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "checked",
            "task": {"source": "digits"},
            "teacher": {"model": teacher, "training": {"batch_size": taught}},
            "student": {"model": student},
            "training": {"batch_size": batch_size},
        }
    )


def config_of(**sections: Any) -> StudyConfig:
    """A study of small models, with other sections."""
    return StudyConfig.model_validate(
        {
            "name": "s",
            "task": {"source": "digits"},
            "teacher": {"model": SHALLOW},
            "student": {"model": SHALLOW},
            **sections,
        }
    )


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (study(SHALLOW, DEEP, 32, 17), "training.batch_size: is 17,.* such as 18$"),
        (study(SHALLOW, DEEP, 32, 1), "training.batch_size: is 1,.* such as 2$"),
        (study(DEEP, SHALLOW, 119, 32), "teacher.training.batch_size: is 119,.* such as 120$"),
    ],
)
def test_a_last_batch_of_one_image_is_refused_where_it_cannot_be_trained_on(
    config: StudyConfig, field: str, task: Task
) -> None:
    with pytest.raises(ConfigError, match=field) as raised:
        check_models(config, task)
    assert "the last of 120 images is a batch of its own" in str(raised.value)


@pytest.mark.parametrize("dimension", [IntRange(type="int", low=16, high=32), Choice(type="choice", choices=(16, 17))])
def test_every_batch_size_of_the_space_is_looked_at(dimension: IntRange | Choice, task: Task) -> None:
    config = study(SHALLOW, DEEP, 32, 16)

    def searching(batch_size: IntRange | Choice) -> StudyConfig:
        search = config.search.model_copy(update={"space": {"batch_size": batch_size}})
        return config.model_copy(update={"search": search})

    told = (
        r"search\.space\.batch_size: is 17, so that the last of 120 images .* leave it out: list `choices`, such as 18"
    )
    with pytest.raises(ConfigError, match=told):
        check_models(searching(dimension), task)
    check_models(searching(IntRange(type="int", low=16, high=32, step=8)), task)


def test_no_more_layers_are_searched_than_there_are(tiny_encoder: Callable[..., Path]) -> None:
    config = StudyConfig.model_validate(
        {
            "name": "checked",
            "task": {"source": "text", "path": "films.csv"},
            "teacher": {"model": {"family": "encoder", "path": str(tiny_encoder())}},
            "student": {"model": {"family": "encoder"}},
            "search": {"space": {"student_layers": {"type": "int", "low": 1, "high": 4}}},
        }
    )
    check_models(config, make_text_task())
    more = config.search.model_copy(update={"space": {"student_layers": IntRange(type="int", low=2, high=5)}})
    message = r"search\.space\.student_layers: would keep 5, and layers: the encoder has 4 layers, 5 cannot be kept"
    with pytest.raises(ConfigError, match=message):
        check_models(config.model_copy(update={"search": more}), make_text_task())
    fewer = config.teacher.model_copy(update={"model": Encoder(path=str(tiny_encoder()), layers=2)})
    with pytest.raises(ConfigError, match="would keep 4, and layers: the encoder has 2 layers"):
        check_models(config.model_copy(update={"teacher": fewer}), make_text_task())
    own = StudentConfig(model=Encoder(layers=3))
    plain = config.model_copy(update={"teacher": fewer, "student": own, "search": SearchConfig()})
    with pytest.raises(
        ConfigError, match=r"student\.model\.layers: would keep 3, and layers: the encoder has 2 layers"
    ):
        check_models(plain, make_text_task())


def test_the_size_that_is_named_leaves_no_single_image_either(task: Task) -> None:
    odd = replace(task, train=task.train.take(torch.arange(119)))  # of which 2 leaves one, too
    with pytest.raises(ConfigError, match=r"such as 3$"):
        check_models(study(SHALLOW, DEEP, 32, 1), odd)


@pytest.mark.parametrize(
    "config", [study(SHALLOW, SHALLOW, 119, 17), study(DEEP, DEEP, 32, 16), study(SHALLOW, DEEP, 119, 18)]
)
def test_any_other_is_trained_on(config: StudyConfig, task: Task) -> None:
    assert len(check_models(config, task)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 2, "baselines": BASELINES}, "search.trials: is 2, and the baselines alone are 2.* set it to 3"),
        ({"trials": 4, "baselines": BASELINES}, "search.space: is empty, so that of 4 trials all after the first 3"),
        ({"trials": 3, "baselines": BASELINES}, ""),
        ({"trials": 1, "baselines": ()}, ""),
    ],
)
def test_a_study_has_trials_of_its_own_that_differ(changes: dict[str, Any], message: str) -> None:
    config = study(SHALLOW, SHALLOW, 32, 16)
    config = config.model_copy(update={"search": config.search.model_copy(update=changes)})
    if not message:
        check_budget(config)
        return
    with pytest.raises(ConfigError, match=message):
        check_budget(config)


@pytest.mark.parametrize(
    ("method", "search", "message"),
    [
        (
            {},
            {},
            "method.smoothing_start: smoothing_start is 20, .* 8 steps -> name one, for this is the default; lower",
        ),
        (
            {"smoothing_start": 9},
            {},
            "method.smoothing_start: smoothing_start is 9, .* 8 steps -> lower it to at most 8",
        ),
        (
            {"smoothing_start": 3},
            {"enqueue": ({"smoothing_start": 4}, {"smoothing_start": 12})},
            "search.enqueue.1.smoothing_start: smoothing_start is 12, beyond the schedule of 8 steps",
        ),
        ({"smoothing_start": 3}, {"enqueue": ({"smoothing_start": 8},)}, ""),
    ],
)
def test_schedules_that_do_not_fit_the_steps_are_refused_and_so_are_points_to_try_first(
    method: dict[str, Any], search: dict[str, Any], message: str, task: Task
) -> None:
    """Two epochs of four steps; what is longer would fail trial by trial."""
    config = study(SHALLOW, SHALLOW, 32, 32)
    space = {"smoothing_start": IntRange(type="int", low=1, high=40)}
    config = config.model_copy(
        update={
            "method": ContinuationKD(granularity="step", **method),
            "training": config.training.model_copy(update={"epochs": 2}),
            "search": config.search.model_copy(update={"baselines": (), "space": space, **search}),
        }
    )
    if not message:
        check_plans(config, task)
        return
    with pytest.raises(ConfigError, match=message):
        check_plans(config, task)


def test_samples_that_are_learned_from_and_judged_by_are_told_of(digits: tuple[Task, HeldOut]) -> None:
    task, held_out = digits
    assert overlaps_told(task, held_out) == []
    mixed = Split(torch.cat([held_out.split.inputs, task.train.inputs[:5]]), torch.zeros(len(held_out.split) + 5))
    (told,) = overlaps_told(task, replace(held_out, split=mixed))
    assert told.startswith(f"5 of {len(mixed)} test images are training images too")
    texts = make_text_task(train=40, validation=30)  # eight lengths of either kind: all of them are trained on
    (told,) = overlaps_told(texts, HeldOut(Split(Texts(("new",)), torch.zeros(1)), "test"))
    assert told.startswith("30 of 30 validation texts are training texts too")


@pytest.mark.parametrize(("pick", "fits"), [("accuracy >= 0.9", True), ("parameters <= 9", True), ("f1 >= 0.9", False)])
def test_a_pick_is_by_the_studys_own_metric(pick: str, fits: bool, task: Task) -> None:
    config = study(SHALLOW, SHALLOW, 32, 16)
    config = config.model_copy(update={"export": config.export.model_copy(update={"pick": pick})})
    if fits:
        check_pick(config, task)
        return
    with pytest.raises(ConfigError, match=r"export.pick: is about f1, and this study's metric is accuracy"):
        check_pick(config, task)


def test_what_given_weights_see_is_told_unless_the_study_says_it(task: Task, tmp_path: Path) -> None:
    plain = study(SHALLOW, SHALLOW, 32, 16)
    assert normalisation_told(plain, task) == []
    given = plain.student.model.model_copy(update={"weights": tmp_path / "student.safetensors"})
    config = plain.model_copy(update={"student": StudentConfig(model=given)})
    (told,) = normalisation_told(config, task)
    assert told.startswith(f"weights of student are given, and images are normalised by the mean ({task.mean[0]:.3g})")
    assert told.endswith("set task.mean and task.std")
    save_weights(build_network(plain.student.model, task, seed=0), tmp_path / "student.safetensors")
    searched = config.search.model_copy(update={"trials": 2})
    assert any(
        sentence.startswith("weights of student are given")
        for sentence in check_study(config.model_copy(update={"search": searched}))
    )
    said = config.model_copy(update={"task": config.task.model_copy(update={"mean": (0.5,), "std": (0.5,)})})
    assert normalisation_told(said, task) == []


def test_stochastic_depth_makes_seeds_differ_as_dropout_does() -> None:
    blocks = [StochasticDepth(p, mode="row") for p in (0.0, 0.1)]
    assert not _has_dropout(blocks[0])
    assert _has_dropout(torch.nn.Sequential(*blocks))


def test_fresh_seeds_must_change_something(task: Task, tmp_path: Path) -> None:
    plain = study(SHALLOW, SHALLOW, 32, 16)
    weights = tmp_path / "student.safetensors"
    save_weights(build_network(plain.student.model, task, seed=0), weights)
    given = plain.student.model.model_copy(update={"weights": weights})
    config = plain.model_copy(update={"student": StudentConfig(model=given)})
    assert len(check_models(config, task)) == 2
    seeds = config.model_copy(update={"finalists": config.finalists.model_copy(update={"seeds": 3})})
    with pytest.raises(ConfigError, match=r"finalists.seeds: would change nothing"):
        check_models(seeds, task)
    assert len(check_models(plain.model_copy(update={"finalists": seeds.finalists}), task)) == 2


@pytest.fixture
def of_pairs(tiny_encoder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    """A study whose columns are found, from a file of 60 pairs."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [f"it is good {row},it is {('good', 'bad')[row % 2]} {row},{row % 2}" for row in range(60)]
    (tmp_path / "pairs.csv").write_text("\n".join(["premise,hypothesis,label", *rows]))
    return StudyConfig.model_validate(
        {
            "name": "pairs",
            "task": {"source": "text", "path": str(tmp_path / "pairs.csv"), "max_length": 16},
            "teacher": {"model": {"family": "encoder", "path": str(tiny_encoder())}},
            "student": {"model": {"family": "encoder", "layers": 2}},
            "method": {"name": "kd"},
            "search": {"trials": 2},
        }
    )


def with_named_columns(config: StudyConfig) -> StudyConfig:
    named = {"text_columns": ("premise", "hypothesis"), "label_column": "label"}
    return config.model_copy(update={"task": config.task.model_copy(update=named)})


CHOSEN = "texts: premise + hypothesis, a pair (the only columns of strings); label: label (by its name)"


def test_the_plan_says_which_columns_are_the_texts_and_the_label(of_pairs: StudyConfig) -> None:
    line = "data: pairs, 43 training, 5 validation and 12 test texts, 2 classes"
    assert check_study(of_pairs)[0] == f"{line}; {CHOSEN}"
    assert check_study(with_named_columns(of_pairs))[0] == line


def test_the_ledger_says_once_which_columns_are_the_texts_and_the_label(of_pairs: StudyConfig, tmp_path: Path) -> None:
    def notes(config: StudyConfig, folder: Path, *, resume: bool) -> list[Event]:
        seen: list[Event] = []
        with open_session(config, folder, seen.append, None, "pairs", resume=resume) as session:
            _begin(session, *load_task(config.task))
        return [event for event in seen if isinstance(event, Noted)]

    (note,) = notes(of_pairs, tmp_path / "found", resume=False)
    assert isinstance(note, Noted)
    assert (note.kind, note.text) == ("choice", CHOSEN)
    assert notes(of_pairs, tmp_path / "found", resume=True) == []
    assert notes(with_named_columns(of_pairs), tmp_path / "named", resume=False) == []


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("mlruns", "is a folder of files"),
        ("file:///tmp/mlruns", "is a folder of files"),
        ("foo://server", "MLflow has no store for"),
        ("sqlite:///mlflow.db", ""),
        ("http://127.0.0.1:5000", ""),
        ("postgresql+psycopg2://server/mlflow", ""),
        ("databricks", ""),
        ("databricks://profile", ""),
    ],
)
def test_a_store_that_mlflow_refuses_is_no_surprise_at_the_end(
    uri: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the study it is a mistake; in the environment, where it may be another program's, a warning."""
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    named = config_of(tracking={"uri": uri})
    if why:
        with pytest.raises(ConfigError, match=rf"tracking\.uri: {uri} .*{why}"):
            check_tracking(named)
    else:
        assert check_tracking(named) == ""
    assert check_tracking(config_of(tracking={"uri": uri, "enabled": False})) == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert (why in check_tracking(config_of())) if why else check_tracking(config_of()) == ""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert check_tracking(config_of(tracking={"uri": "mlruns"})) == ""


def test_a_pick_that_no_student_fulfils_is_refused_before_any_is_trained(task: Task) -> None:
    with pytest.raises(ConfigError, match=r"export\.pick: asks for parameters <= 3, and every student .* has [\d]+"):
        check_models(config_of(export={"pick": "parameters <= 3"}), task)
    wide = {"space": {"student_width": {"type": "choice", "choices": [2, 4]}}}
    assert check_models(config_of(export={"pick": "parameters <= 3"}, search=wide), task)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_what_is_wrong_with_a_model_is_told_with_its_role(role: str, task: Task) -> None:
    wrong = {"model": {"family": "torchvision", "name": "resnet81"}}
    with pytest.raises(ModelError, match=rf"^{role}\.model\.name: torchvision has no classifier named 'resnet81'"):
        check_models(config_of(**{role: wrong}), task)


def test_a_model_that_does_not_fit_into_memory_is_no_bug(task: Task) -> None:
    huge = {"model": {"family": "cifar_resnet", "depth": 8, "width": 1_000_000}}
    with pytest.raises(ConfigError, match=r"student\.model: does not fit into this machine's memory"):
        check_models(config_of(student=huge), task)
