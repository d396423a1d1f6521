from __future__ import annotations

import os

import pytest
from place import STUDY, Place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(STUDY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOCKD", "MLFLOW"))}
    return Place(folder, {**environment, "AUTOCKD_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"})
