"""Changes autockd in every process of a run: the driver and the workers that Ray starts.

Python imports this module by itself where its folder is on PYTHONPATH. AUTOCKD_BENCHMARK_OFF names a technique that is
taken away, AUTOCKD_BENCHMARK_ORDER is added to the seed of the samples' order. Nothing of autockd is imported before
autockd itself imports it.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

MODULES = {
    "bank": "autockd.training.bank",
    "teacher_bf16": "autockd.preparing",
    "trimmed_vocabulary": "autockd.training.networks",
    "bf16": "autockd.training.probes",
    "channels_last": "autockd.training.probes",
    "folding": "autockd.models.folding",
    "one_thread": "autockd.training.probes",
    "resident_data": "autockd.training.batches",
    "fused_optimizer": "autockd.training.optimizer",
    "warm_workers": "autockd.search.runner",
    "early_imports": "autockd.search.cluster",
    "quick_attention": "autockd.models.encoder",
    "real_lengths": "autockd.models.tokens",
}
"""The module that each technique is in."""


class Changer:
    """Finds the one module, and changes it as soon as it is there."""

    def __init__(self, module: str, change: str) -> None:
        self._module, self._change = module, change

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def run_and_take(module: ModuleType) -> None:
            run(module)
            import parts

            getattr(parts, self._change)(module)

        spec.loader.exec_module = run_and_take  # type: ignore[method-assign]
        return spec


if technique := os.environ.get("AUTOCKD_BENCHMARK_OFF"):
    sys.meta_path.insert(0, Changer(MODULES[technique], f"without_{technique}"))  # type: ignore[arg-type]
if os.environ.get("AUTOCKD_BENCHMARK_ORDER"):
    sys.meta_path.insert(0, Changer("autockd.data.order", "with_order"))  # type: ignore[arg-type]
