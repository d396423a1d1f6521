"""Time divided among searches that follow each other: what one leaves over is for those after it."""

from __future__ import annotations


class Shares:
    """Gives every search an even part of what is left.

    Args:
        seconds: for all together; None is unlimited.
        count: how many searches there are.
    """

    def __init__(self, seconds: float | None, count: int) -> None:
        self._left = seconds
        self._count = count

    def next(self) -> float | None:
        """Seconds of the next search; None where time is unlimited."""
        return None if self._left is None else self._left / self._count

    def use(self, seconds: float) -> None:
        """The next search is over after so long; what it took beyond its share is no loss to those after it."""
        if self._left is not None:
            self._left -= min(seconds, self._left / self._count)
        self._count -= 1
