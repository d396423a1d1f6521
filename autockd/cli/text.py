"""Numbers, and text that others wrote, as a terminal may show them."""

from __future__ import annotations


def printable(text: object, *, lines: bool = False) -> str:
    """The text without control characters (a terminal would obey them); newlines become spaces unless `lines`."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else _stand_in(c) for c in str(text))


def metric_text(value: float | None, metric: str = "accuracy") -> str:
    """A metric: accuracy as a percentage with one decimal, any other with four digits, a missing one as a dash."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.4g}"


def count_text(count: int | None) -> str:
    """A whole number with thousands separated."""
    return "-" if count is None else f"{count:,}"


def cost_text(name: str, value: float) -> str:
    """A cost of a student by its name: parameters, bytes, or milliseconds to three digits."""
    if name == "bytes":
        return kilobytes(int(value))
    return count_text(int(value)) if name == "parameters" else f"{value:.3g}"


def kilobytes(size: int) -> str:
    """Bytes as kB of 1000 bytes, to three digits below 10 kB."""
    return f"{size / 1000:.2f} kB" if size < 10_000 else f"{size / 1000:,.0f} kB"


def gigabytes(size: float) -> str:
    """Bytes as GB of 10^9 bytes."""
    return f"{size / 1e9:.1f} GB"


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it: 4.2 s, 35 s, 41 min, 2 h 05 min."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 trial, 2 trials."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _stand_in(character: str) -> str:
    return " " if character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
