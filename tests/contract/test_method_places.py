"""Every place that the list at the top of `autockd.distillation.methods` names knows every method.

What a method needs of such a place is found by what it does, so that one that is forgotten there fails here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from autockd.cli import options
from autockd.config import comparison, kinds, method_spaces, text_defaults
from autockd.config.arms import STANDARDISED, _shortest_run
from autockd.config.methods import METHOD_CONFIGS, MethodConfig, Smoothed
from autockd.config.models import CifarResNet
from autockd.config.schema import StudyConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.distillation import Method, Run, make_method
from autockd.distillation.methods import _METHODS
from autockd.report.model_charts import PLAN_TITLES
from autockd.search.stopping import compressed
from autockd.tracking import figures
from autockd.tracking.mlflow_fields import _COEFFICIENTS

RUN, SECOND_MOMENT = Run(10, 1), 4.0
UNDRAWN = {"soft_weight", "temperature"}
"""Coefficients of methods for which there is no chart; the ledger and `autockd preview` have them."""

each_method = pytest.mark.parametrize("name", METHOD_CONFIGS)
each_smoothed = pytest.mark.parametrize(
    "name", [name for name, config in METHOD_CONFIGS.items() if issubclass(config, Smoothed)]
)


def config_of(name: str, **settings: Any) -> Any:
    fields = METHOD_CONFIGS[name].model_fields
    usual = {"smoothing_start": 3} if "smoothing_start" in fields else {}
    return METHOD_CONFIGS[name](**usual | settings)


def losses(method: Method, seed: int, classes: int) -> list[float]:
    """The loss of each step, for one student and a teacher that depends on the seed."""
    student = torch.randn(6, classes, generator=torch.Generator().manual_seed(0))
    teacher = torch.randn(6, classes, generator=torch.Generator().manual_seed(seed))
    targets = torch.arange(6) % classes if classes > 1 else torch.arange(6).float()
    plan = method.plan(RUN, SECOND_MOMENT)
    outputs = {"logits": student}, {"logits": teacher}, targets
    return [float(method.loss(*outputs, plan.row(step)).total) for step in range(RUN.steps)]


def hears_a_teacher(config: Any, *, classes: int = 4) -> bool:
    """Whether what is learned depends on who teaches."""
    method = make_method(config)
    one, other = (torch.tensor(losses(method, seed, classes)) for seed in (1, 2))
    return not torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def zeros(name: str) -> dict[str, float]:
    """Numbers of a method that may be 0, as 0."""
    found = {}
    for field, about in METHOD_CONFIGS[name].model_fields.items():
        if about.annotation is float:
            try:
                METHOD_CONFIGS[name](**{field: 0.0})
            except ValueError:
                continue
            found[field] = 0.0
    return found


def test_the_tables_of_methods_hold_the_same() -> None:
    union = {config.model_fields["name"].default for config in get_args(get_args(MethodConfig)[0])}
    tables = {
        "autockd.config.methods.MethodConfig": union,
        "autockd.distillation.methods._METHODS": set(_METHODS),
        "autockd.config.method_spaces._SPACES": set(method_spaces._SPACES),
    }
    for place, names in tables.items():
        missing = set(METHOD_CONFIGS) ^ names
        assert not missing, f"{place} and autockd.config.methods.METHOD_CONFIGS differ in {missing}"


@each_method
def test_the_weights_of_its_soft_loss_are_known(name: str) -> None:
    """Where all are 0, the method's other fields decide nothing, and are not to be searched."""
    weights = method_spaces._SOFT_WEIGHTS.get(name, ())
    is_taught = hears_a_teacher(config_of(name))
    if is_taught and not hears_a_teacher(config_of(name, **zeros(name))):
        assert weights, f"autockd.config.method_spaces._SOFT_WEIGHTS lacks {name}, some of {', '.join(zeros(name))}"
    if weights:
        assert is_taught
        silent = config_of(name, **dict.fromkeys(weights, 0.0))
        assert not hears_a_teacher(silent), f"autockd.config.method_spaces._SOFT_WEIGHTS lacks a weight of {name}"


@each_method
def test_whether_it_needs_classes_is_known(name: str) -> None:
    try:
        learns = hears_a_teacher(config_of(name), classes=1)
    except Exception:  # whatever it has against scores
        learns = False
    needs = hears_a_teacher(config_of(name)) and not learns
    told = f"where targets are scores, {name} {'learns nothing' if needs else 'learns too'} of its teacher"
    assert (name in kinds.NEED_CLASSES) == needs, f"{told}: see autockd.config.kinds.NEED_CLASSES"
    if learns and name not in kinds.NEED_ASSISTANT:
        assert name in kinds._FIT_SCORES.replace(",", "").split(), f"autockd.config.kinds._FIT_SCORES lacks {name}"


@each_method
def test_whether_it_needs_an_assistant_is_known(name: str) -> None:
    is_taught_by_one = make_method(config_of(name)).taught_by == "assistant"
    assert (name in kinds.NEED_ASSISTANT) == is_taught_by_one, f"see autockd.config.kinds.NEED_ASSISTANT for {name}"


@each_method
def test_it_can_be_compared(name: str) -> None:
    assert name in comparison.LABELS, f"autockd.config.comparison.LABELS lacks {name}"
    assert name in comparison.USUAL, f"autockd.config.comparison.USUAL lacks {name}"
    if "standardise_logits" in METHOD_CONFIGS[name].model_fields:
        label = f"{name}{STANDARDISED}"
        assert label in comparison.LABELS, f"autockd.config.comparison.LABELS lacks {label}"
    told = get_args(options.Methods)[1].help
    assert f",{name}," in told.replace(" ", ",").replace(";", ","), f"--methods of autockd.cli.options lacks {name}"


@each_smoothed
def test_a_staircase_is_short_enough_for_texts(name: str) -> None:
    settings = text_defaults._METHODS.get(name, {})
    assert "smoothing_start" in settings, f"autockd.config.text_defaults._METHODS lacks smoothing_start of {name}"
    assert not settings.keys() - METHOD_CONFIGS[name].model_fields.keys()


@each_smoothed
def test_a_staircase_is_fitted_wherever_runs_become_short(name: str) -> None:
    method = config_of(name, smoothing_start=9)
    study = StudyConfig.model_validate(
        {
            "name": "s",
            "task": {"source": "digits"},
            "teacher": {"model": {"family": "cifar_resnet"}},
            "student": {"model": {"family": "cifar_resnet"}},
            "training": {"epochs": 4},
        }
    )
    place = "autockd.config.comparison._in_time"
    assert comparison._in_time(method, study).granularity == "step", f"{place} leaves {name} too long"  # type: ignore[union-attr]
    ticks = _shortest_run(study, {}, method, None)
    assert ticks == 4, f"autockd.config.arms._shortest_run takes {name} for a method without a schedule"
    recipe = TrainingConfig(epochs=20, batch_size=32, learning_rate=0.1)
    trial = TrialConfig(method=config_of(name), training=recipe, student=CifarResNet(), seed=0)
    rung = compressed(trial, 2).method
    assert getattr(rung, "granularity", "") == "step", f"autockd.search.stopping.compressed leaves {name} as it is"


@each_method
def test_what_changes_in_its_plan_is_drawn(name: str) -> None:
    plan = make_method(config_of(name)).plan(RUN, SECOND_MOMENT)
    changing = {column for column in plan.columns if len(set(plan.column(column))) > 1} - UNDRAWN
    places = {
        "autockd.tracking.mlflow_fields._COEFFICIENTS": _COEFFICIENTS,
        "autockd.tracking.figures": figures._SHARES | figures._PANELS,
        "autockd.report.model_charts.PLAN_TITLES": PLAN_TITLES,
    }
    for place, known in places.items():
        missing = changing - set(known)
        assert not missing, f"{place} lacks {missing} of {name}; or name it in UNDRAWN here"


@each_method
def test_it_has_a_golden_value(name: str) -> None:
    golden = Path(__file__).parents[1] / "golden" / "test_golden_values.py"
    made = f"{METHOD_CONFIGS[name].__name__}("
    assert made in golden.read_text(encoding="utf-8"), f"tests/golden/{golden.name} has no value of {made}...)"
