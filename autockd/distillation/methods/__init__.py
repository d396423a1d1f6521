"""Distillation methods, one file each.

A new method is its file here and a line in the table below; and in these places, each of which
`tests/contract/test_method_places.py` looks at:

- `autockd.config.methods`: its configuration class, in `MethodConfig` and in `METHOD_CONFIGS`;
- `autockd.config.method_spaces`: what is searched of it in `_SPACES`, the weights of its soft loss in `_SOFT_WEIGHTS`;
- `autockd.config.kinds`: in `NEED_CLASSES` if it learns nothing where targets are scores, else in the sentence
  `_FIT_SCORES`; in `NEED_ASSISTANT` if an assistant teaches it;
- `autockd.config.comparison`: its label in `LABELS` and `USUAL`, with `-std` in `LABELS` if it can standardise logits;
  and `autockd.cli.options`: the same label in the help of `--methods`;
- if its configuration is a `Smoothed` one: `autockd.config.text_defaults._METHODS` for its start in studies of texts,
  and where methods with a schedule are named: `comparison._in_time`, `autockd.config.arms._shortest_run`,
  `autockd.search.stopping.compressed`;
- if its plan has a coefficient of a new name that changes over a run: `autockd.tracking.mlflow_fields._COEFFICIENTS` (a
  trial has 15 metric keys at most), `autockd.tracking.figures`, `autockd.report.model_charts.PLAN_TITLES`;
- `tests/golden/test_golden_values.py`: a value that an independent package agrees on.

Fields of a new name that decide nothing without a soft loss, or where targets are scores, belong into `_OF_SOFT_LOSS`
or `_OF_CLASSES` of `autockd.config.method_spaces`; no test sees that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autockd.config.methods import MethodConfig
from autockd.distillation.methods.annealing import AnnealingKD
from autockd.distillation.methods.base import LossParts, Method, Outputs, Row, TeacherRole
from autockd.distillation.methods.continuation import ContinuationKD
from autockd.distillation.methods.dist import Dist
from autockd.distillation.methods.dkd import DecoupledKD
from autockd.distillation.methods.kd import HintonKD
from autockd.distillation.methods.none import NoDistillation
from autockd.distillation.methods.takd import AssistantKD

_METHODS: dict[str, Callable[[Any], Method]] = {
    "none": NoDistillation,
    "kd": HintonKD,
    "takd": AssistantKD,
    "dkd": DecoupledKD,
    "dist": Dist,
    "annealing": AnnealingKD,
    "continuation": ContinuationKD,
}


def make_method(config: MethodConfig) -> Method:
    """The method that a configuration names."""
    return _METHODS[config.name](config)


__all__ = ["LossParts", "Method", "Outputs", "Row", "TeacherRole", "make_method"]
