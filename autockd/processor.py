"""The processor of this machine and its memory, as the system describes them; nothing is run on it."""

from __future__ import annotations

import contextlib
import io
import platform
import warnings
from pathlib import Path

_CPUINFO, _MEMINFO, _CGROUP = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/sys/fs/cgroup")
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


def usable_cores() -> int:
    """Cores that this process may run on, or, in a container, that it is given the time of."""
    import joblib

    return int(joblib.cpu_count())


def physical_cores() -> int:
    """Usable cores that are no second thread of another one; all of them where the system does not say."""
    import joblib

    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):  # if it does not say
        return int(joblib.cpu_count(only_physical_cores=True))


def memory() -> tuple[int, int] | None:
    """Bytes of memory in all and available, in a container of what it may have; None where the system does not say."""
    told = told_by(_MEMINFO)
    total, available = (told.get(key, "").split() for key in ("MemTotal", "MemAvailable"))
    if not (total and available):
        return None
    all_of_it, free = int(total[0]) * 1024, int(available[0]) * 1024
    with contextlib.suppress(OSError, ValueError, KeyError):  # no limit, or no such files
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cached = int(kept["inactive_file"])  # of files, which it gives up for whoever wants more
        return min(all_of_it, limit), min(free, max(0, limit - used + cached))
    return all_of_it, free


def _described() -> dict[str, str]:
    """What Linux says of the first core; empty elsewhere."""
    return told_by(_CPUINFO)


def told_by(path: Path) -> dict[str, str]:
    """The `key : value` lines of a file under /proc, up to the first empty one; none where there is no such file."""
    with contextlib.suppress(OSError):
        first, _, _ = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")
        lines = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in lines}
    return {}
