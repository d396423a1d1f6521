"""Numbers, and text that others wrote, as a terminal may show them."""

from __future__ import annotations

from autockd.text import count_text, kilobytes


def printable(text: object, *, lines: bool = False) -> str:
    """The text without control characters (a terminal would obey them); newlines become spaces unless `lines`."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else _stand_in(c) for c in str(text))


def cost_text(name: str, value: float) -> str:
    """A cost of a student by its name: parameters, bytes, or milliseconds to three digits."""
    if name == "bytes":
        return kilobytes(int(value))
    return count_text(int(value)) if name == "parameters" else f"{value:.3g}"


def gigabytes(size: float) -> str:
    """Bytes as GB of 10^9 bytes."""
    return f"{size / 1e9:.1f} GB"


def _stand_in(character: str) -> str:
    return " " if character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
