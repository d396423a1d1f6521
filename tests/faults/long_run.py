"""What takes minutes is for scripts/test_faults alone."""

from __future__ import annotations

import os

import pytest

IS_LONG = "AUTOCKD_FAULT_KILLS" in os.environ
"""Whether scripts/test_faults runs."""

only_in_the_long_run = pytest.mark.skipif(not IS_LONG, reason="takes minutes; scripts/test_faults has it")
