"""The mathematics of distillation: schedules, losses, plans, methods. Pure functions of numbers and tensors."""

from autockd.distillation.compile import compile_plan, learning_rates
from autockd.distillation.methods import LossParts, Method, Outputs, Row, make_method
from autockd.distillation.plan import Plan, Run

__all__ = ["LossParts", "Method", "Outputs", "Plan", "Row", "Run", "compile_plan", "learning_rates", "make_method"]
