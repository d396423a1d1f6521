"""How image files become what a bundle takes: as its training data did, by the code of its own card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sample_records import PROVENANCE

from autockd.config.models import CifarResNet
from autockd.config.tasks import ImageFolder
from autockd.data.sources.folder import read_folder
from autockd.data.task import Split
from autockd.errors import ExportError
from autockd.export import ImageBundleConfig, ImageStudent, load_bundle, write_bundle
from autockd.export.description import Preprocessing
from autockd.export.manifest import write_manifest
from autockd.models import build_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ARCHITECTURE = CifarResNet(depth=8, width=4)
SIZE = 12
ORIENTATION, TURNED = 0x0112, 6


def _images(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (4, channels, SIZE, SIZE), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Those of an untrained student of grey images and of one of coloured images, by their channels."""
    root = tmp_path_factory.mktemp("bundles")
    for channels in (1, 3):
        config = ImageBundleConfig(
            architecture=ARCHITECTURE,
            classes=tuple("abcdefghij"),
            channels=channels,
            image_size=(SIZE, SIZE),
            mean=(0.5,) * channels,
            std=(0.1,) * channels,
            study="s",
            method="kd",
            provenance=PROVENANCE,
            preprocessing=Preprocessing.to(channels, (SIZE, SIZE)),
        )
        model = build_model(ARCHITECTURE, classes=10, channels=channels, image_size=(SIZE, SIZE), seed=0)
        examples = Split(_images(channels), torch.zeros(4).long())
        write_bundle(root / str(channels), ImageStudent(config, model), examples=examples, onnx=True)
    return {channels: root / str(channels) for channels in (1, 3)}


def _photo(path: Path, mode: str, seed: int) -> None:
    """A tall photo, stored lying and with the note of a camera that it is to be turned."""
    path.parent.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(256, size=(21, 47, 3), dtype=np.uint8)
    pixels[:, :20] //= 4
    image = Image.fromarray(pixels).convert(mode)
    exif = image.getexif()
    exif[ORIENTATION] = TURNED
    image.save(path, exif=exif)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (3, "L")])
def test_the_code_of_a_card_makes_of_files_what_training_does(
    bundles: dict[int, Path], channels: int, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its two pieces alone, as printed, on a file of another size that the project's own reader reads too."""
    folder = Path(shutil.copytree(bundles[channels], tmp_path / "bundle"))
    data = tmp_path / "data"
    _photo(data / "a" / "photo.png", mode, seed=1)
    _photo(data / "b" / "other.png", "L" if channels == 1 else "RGB", seed=2)
    shutil.copy(data / "a" / "photo.png", tmp_path / "photo.png")
    read = read_folder(ImageFolder(source="folder", path=data, image_size=SIZE)).train.read(np.array([0, 1]))
    bundle = load_bundle(folder)
    expected = bundle.predict(read[:1])
    pieces = [piece.partition("```")[0] for piece in (folder / "README.md").read_text().split("```python\n")[1:]]
    assert len(pieces) == 2
    monkeypatch.chdir(folder)
    for piece in pieces:
        names: dict[str, Any] = {}
        exec(piece, names)
        assert np.array_equal(names["images"], read[:1].numpy())
        torch.testing.assert_close(torch.as_tensor(names["logits"]), expected, rtol=0, atol=1e-5)
        assert names["names"] == ["abcdefghij"[int(expected.argmax())]]


def test_a_bundle_says_it_as_data(bundles: dict[int, Path]) -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        assert json.loads((bundles[channels] / "autockd.json").read_text())["preprocessing"] == {
            "orientation": "exif",
            "mode": mode,
            "height": SIZE,
            "width": SIZE,
            "keep_aspect": False,
            "resampling": "bilinear",
        }


def test_a_bundle_of_an_older_version_is_read(bundles: dict[int, Path], tmp_path: Path) -> None:
    """It names the machine that made it, which nobody asks for, and does not say how its images are made."""
    copied = Path(shutil.copytree(bundles[3], tmp_path / "bundle"))
    path = copied / "autockd.json"
    written = json.loads(path.read_text())
    del written["preprocessing"]
    written["provenance"]["host"] = "ada"
    path.write_text(json.dumps(written))
    write_manifest(copied)
    older, images = load_bundle(copied), _images(3)
    assert isinstance(older.config, ImageBundleConfig)
    assert (older.config.preprocessing, older.config.provenance.host) == (None, "")
    assert torch.equal(older.predict(images), load_bundle(str(bundles[3])).predict(images))
    with pytest.raises(ExportError, match=r"-> convert or resize them$"):
        older.predict(images[:, :, :4])
