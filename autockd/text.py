"""Numbers as people read them, in a terminal and on a page."""

from __future__ import annotations


def metric_text(value: float | None, metric: str = "accuracy") -> str:
    """A metric: accuracy as a percentage with one decimal, any other with four digits, a missing one as a dash."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.4g}"


def count_text(count: int | None) -> str:
    """A whole number with thousands separated."""
    return "-" if count is None else f"{count:,}"


def kilobytes(size: int) -> str:
    """Bytes as kB of 1000 bytes, to three digits below 10 kB."""
    return f"{size / 1000:.2f} kB" if size < 10_000 else f"{size / 1000:,.0f} kB"


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


def spread(length: int, count: int) -> list[int]:
    """At most `count` indices below `length`, evenly spread, with both ends."""
    if length <= count:
        return list(range(length))
    return [round(index * (length - 1) / (count - 1)) for index in range(count)]


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 trial, 2 trials."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
