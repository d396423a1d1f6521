"""When Python looks for garbage: seldom where torch and its like are imported, for what imports make stays.

They make half a million objects. By itself Python looks through some of them after every 700 new ones, and that takes a
quarter of the time of all imports.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 20_000
"""After how many Python looks through the newest: milliseconds, and some megabytes that wait for it."""


def look_seldom() -> None:
    """Have this process look for garbage seldom, from now on; where somebody has it look more seldom, it stays so."""
    newest, *older = gc.get_threshold()
    if 0 < newest < _NEW_OBJECTS:  # 0 is never
        gc.set_threshold(_NEW_OBJECTS, *older)


@contextmanager
def looking_seldom() -> Iterator[None]:
    """Within this the process looks for garbage seldom; it may be somebody else's, who has it as before afterwards."""
    before = gc.get_threshold()
    look_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
