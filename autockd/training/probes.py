"""What was probed on this machine before: a study that runs there again is computed in the same way.

Two ways of computing a step may be as fast as each other, and noise alone would then decide which one a study takes:
the same seeds would make other students the next time, for the two round differently.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from autockd.folders import write_whole
from autockd.hashing import content_hash
from autockd.processor import cpu_kind
from autockd.records import PrecisionChoice

_STEPS = 6
"""Raised where a training step is computed otherwise than before, another one is timed, or more is kept of it."""

AGAIN = "; timed here before"
"""Said behind the reason of a choice that was kept."""


def remembered(
    probe: Callable[[], tuple[PrecisionChoice, bool]], of: Any, threads: int, device: torch.device, cache: Path
) -> PrecisionChoice:
    """The choice of a probe: of an earlier one of the same thing on such a machine, where the cache has it.

    Args:
        probe: times and chooses; its choice is kept, if it says that it may be.
        of: what it times, as plain data.
        threads: CPU threads that it may choose.
        device: that it runs on.
        cache: folder of the choices, named by content.
    """
    machine = cpu_kind() if device.type == "cpu" else torch.cuda.get_device_name(device)
    key = content_hash([_STEPS, of, threads, device.type, machine, torch.__version__])[:32]
    kept = cache / f"{key}.json"
    with suppress(OSError, ValidationError):
        choice = PrecisionChoice.model_validate_json(kept.read_bytes())
        return choice.model_copy(update={"device": str(device), "reason": choice.reason + AGAIN})
    choice, lasts = probe()
    if lasts:
        with suppress(OSError):  # it is then timed again, the next time
            write_whole(kept, choice.model_dump_json())
    return choice
