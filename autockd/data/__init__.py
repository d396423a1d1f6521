"""Images and texts in memory: where they come from, how they are split, and the finite views of images."""

from autockd.data.load import load_task
from autockd.data.task import HeldOut, ImageTask, Split, Task, TextTask
from autockd.data.texts import Texts
from autockd.data.views import Views

__all__ = [
    "HeldOut",
    "ImageTask",
    "Split",
    "Task",
    "TextTask",
    "Texts",
    "Views",
    "load_task",
]
