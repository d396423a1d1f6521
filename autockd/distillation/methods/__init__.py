"""Distillation methods, one file each. A new method is its file and a line in this table, its configuration class and
a place in `autockd.config.methods`, what is searched of it in `autockd.config.method_spaces`, and its label in
`autockd.config.comparison`.
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
