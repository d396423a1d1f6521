"""The processor of this machine, as the system describes it; nothing is run on it."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_SAME_KIND = ("vendor_id", "cpu family", "model", "model name", "flags")
"""Lines that are the same on processors of one kind; clock rates, say, change while one looks."""


def cpu_model() -> str:
    """The processor's name."""
    return _described().get("model name") or platform.processor() or platform.machine()


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); False where that is not known."""
    return bool({"avx512_bf16", "amx_bf16"}.intersection(_described().get("flags", "").split()))


def cpu_kind() -> str:
    """All that tells the processor from one that computes at another speed; a name alone is shared by generations."""
    described = _described()
    return "; ".join(described[key] for key in _SAME_KIND if key in described) or cpu_model()


def _described() -> dict[str, str]:
    """What Linux says of the first core; empty elsewhere."""
    with contextlib.suppress(OSError):
        first_core, _, _ = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")
        lines = (line.partition(":") for line in first_core.splitlines())
        return {key.strip(): value.strip() for key, _, value in lines}
    return {}
