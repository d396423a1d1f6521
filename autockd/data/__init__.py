"""Data sets as tensors in memory: where they come from, how they are split, and the finite views of their images."""

from autockd.data.load import load_task
from autockd.data.task import HeldOut, Split, Task
from autockd.data.views import Views, order_of_epoch, seeded

__all__ = ["HeldOut", "Split", "Task", "Views", "load_task", "order_of_epoch", "seeded"]
