"""Imported by every Python process of a study under test, for its folder is in their PYTHONPATH."""

import os
import sys
from pathlib import Path

if found := os.environ.get("AUTOCKD_TEST_CRASHES"):
    sys.path.append(str(Path(__file__).parents[1]))
    from crashes import install_on_import, load

    install_on_import(load(found))
