"""Bundles that were damaged or made to harm: each is refused, by the name of what is wrong with it."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_folders import through_the_hub
from sample_records import PROVENANCE

from autockd.config.models import CifarResNet
from autockd.data.task import Split
from autockd.errors import ExportError, UsageError
from autockd.export import ImageBundleConfig, ImageStudent, load_bundle, write_bundle
from autockd.export.manifest import write_manifest
from autockd.export.onnx import OnnxModel
from autockd.folders import LITTER
from autockd.hashing import file_hash
from autockd.models import build_model

Harm = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = CifarResNet(depth=8, width=4)
    card = ImageBundleConfig(
        architecture=architecture,
        classes=("a", "b", "c"),
        channels=1,
        image_size=(8, 8),
        mean=(0.5,),
        std=(0.5,),
        study="s",
        method="none",
        provenance=PROVENANCE,
    )
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = build_model(architecture, classes=3, channels=1, image_size=(8, 8), seed=0)
    folder = tmp_path_factory.mktemp("sound") / "bundle"
    write_bundle(folder, ImageStudent(card, model), examples=Split(images, torch.zeros(4).long()), onnx=False)
    return folder


@pytest.fixture
def copied(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "bundle"))


def _edit(path: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _link(folder: Path) -> None:
    (folder / "README.md").rename(folder.parent / "README.md")
    (folder / "README.md").symlink_to(folder.parent / "README.md")


def _list_as(name: str) -> Harm:
    """Leads the manifest to a real file, whose hash is right, by another name."""

    def harm(folder: Path) -> None:
        shutil.copy(folder / "README.md", folder.parent / "outside.md")
        _edit(folder / "manifest.json", lambda data: data["files"].update({name: data["files"].pop("README.md")}))
        (folder / "README.md").unlink()

    return harm


def _oversized(name: str) -> Harm:
    """A file of 17 MiB of blanks: sound JSON, and more than is read."""
    return lambda folder: (folder / name).write_bytes(b"{" + b" " * (17 << 20) + b"}")


def _hard_link(folder: Path) -> None:
    """Another name for a file that is elsewhere: the bytes are what the manifest does not say."""
    (folder.parent / "other").write_bytes(b"other bytes")
    (folder / "README.md").unlink()
    os.link(folder.parent / "other", folder / "README.md")


def _rename(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "Model.safetensors")


AGAINST_THE_MANIFEST: dict[str, tuple[Harm, str]] = {
    "flipped byte": (lambda f: _flip(f / "model.safetensors"), r"model\.safetensors: its SHA-256"),
    "appended byte": (lambda f: _append(f / "parity.json"), r"parity\.json: has \d+ bytes"),
    "missing file": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors: is in .* but missing"),
    "renamed file": (_rename, r"has 'model\.safetensors' where .* has 'Model\.safetensors'; was a file renamed\? -> "),
    "missing manifest": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json is missing"),
    "extra file": (lambda f: (f / "notes.md").write_text("x"), r"notes\.md: is not in manifest\.json"),
    "extra folder": (lambda f: (f / "code.json").mkdir(), r"code\.json: is not a regular file"),
    "code": (lambda f: (f / "modeling.py").write_text("raise SystemExit"), r"modeling\.py: a bundle holds only"),
    "pickle": (lambda f: (f / "model.pt").write_bytes(pickle.dumps(1)), r"model\.pt: a bundle holds only"),
    "folder with a file manager's name": (lambda f: (f / "Thumbs.db").mkdir(), r"Thumbs\.db: is not a regular file"),
    "link with a file manager's name": (
        lambda f: (f / ".DS_Store").symlink_to("/etc/passwd"),
        r"\.DS_Store: is a symbolic link",
    ),
    **{
        f"link with the name {name}": (
            lambda f, name=name: (f / name).symlink_to(f.parent),
            rf"{re.escape(name)}: is a symbolic link, .*snapshot_download\(\.\.\., local_dir=\.\.\.\)",
        )
        for name in (".git", ".cache", ".gitattributes")
    },
    "pipe with the name .git": (lambda f: os.mkfifo(f / ".git"), r"\.git: is not a regular file"),
    ".gitattributes in the manifest": (_list_as(".gitattributes"), r"'\.gitattributes' is not the plain name"),
    "hidden file in the manifest": (_list_as(".notes.md"), r"'\.notes\.md' is not the plain name"),
    "a file manager's file in the manifest": (_list_as(".DS_Store"), r"'\.DS_Store' is not the plain name"),
    "hard link": (_hard_link, r"README\.md: has \d+ bytes"),
    "int8 model": (lambda f: (f / "model.int8.onnx").write_bytes(b""), r"int8\.onnx: is not in manifest\.json"),
    "symlinked model": (
        lambda f: (f / "model.int8.onnx").symlink_to("/etc/passwd"),
        r"int8\.onnx: is a symbolic link",
    ),
    "manifest too large": (_oversized("manifest.json"), r"manifest\.json: is larger than"),
    "symlink": (_link, r"README\.md: is a symbolic link"),
    "pipe": (lambda f: os.mkfifo(f / "pipe.json"), r"pipe\.json: is not a regular file"),
    "path traversal": (_list_as("../outside.md"), r"'\.\./outside\.md' is not the plain name"),
    "absolute path": (_list_as("/etc/outside.md"), r"'/etc/outside\.md' is not the plain name"),
    "windows path": (_list_as("..\\outside.md"), r"is not the plain name"),
    "empty name": (_list_as(""), r"'' is not the plain name"),
    "zero byte": (_list_as("README.md\0.md"), r"is not the plain name"),
    "manifest of itself": (_list_as("manifest.json"), r"'manifest\.json' is not the plain name"),
    "pickle in the manifest": (_list_as("model.pkl"), r"'model\.pkl' is not the plain name"),
    "manifest no object": (lambda f: (f / "manifest.json").write_text("[1]"), r"manifest\.json: \(whole file\)"),
    "manifest no JSON": (lambda f: (f / "manifest.json").write_text("{"), r"manifest\.json: \(whole file\)"),
    "manifest nested": (
        lambda f: (f / "manifest.json").write_text('{"files":' + "[" * 100_000),
        r"manifest\.json: .*",
    ),
    "manifest of a later version": (
        lambda f: _edit(f / "manifest.json", lambda data: data.update(format_version=2)),
        r"manifest\.json: format_version",
    ),
}


def test_a_manifest_is_known_by_the_hash_of_its_bytes(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    assert write_manifest(copied) == file_hash(copied / "manifest.json")


@pytest.mark.parametrize(("harm", "message"), AGAINST_THE_MANIFEST.values(), ids=AGAINST_THE_MANIFEST.keys())
def test_refuses_what_the_manifest_does_not_cover(copied: Path, harm: Harm, message: str) -> None:
    harm(copied)
    with pytest.raises(ExportError, match=message) as caught:
        load_bundle(copied)
    assert " -> " in str(caught.value)
    assert caught.value.exit_code == 5


def _config(**changes: Any) -> Harm:
    return lambda folder: _edit(folder / "autockd.json", lambda data: data.update(changes))


def _architecture(**changes: Any) -> Harm:
    return lambda folder: _edit(folder / "autockd.json", lambda data: data["architecture"].update(changes))


def _header(length: int) -> Harm:
    def harm(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + content[8:])

    return harm


def _pickled_weights(folder: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, folder / "model.safetensors")


def _holed_header(folder: Path) -> None:
    """A header of 100 MB and one byte, which the file really has: a hole, which takes no room."""
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(8 + 100_000_001)


FORGED: dict[str, tuple[Harm, str]] = {
    "header beyond the file": (_header(1 << 20), r"model\.safetensors: is not a sound safetensors file"),
    "header beyond memory": (_header((1 << 64) - 1), r"model\.safetensors: is not a sound safetensors file"),
    "header of 100 MB": (_holed_header, r"model\.safetensors: is not a sound safetensors file"),
    "config too large": (_oversized("autockd.json"), r"autockd\.json: is larger than"),
    "config nested": (lambda f: (f / "autockd.json").write_text("[" * 100_000), r"autockd\.json: "),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), r"is not a sound safetensors file"),
    "pickled weights": (_pickled_weights, r"model\.safetensors: is not a sound safetensors file"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors is missing"),
    "no config": (lambda f: (f / "autockd.json").unlink(), r"autockd\.json is missing"),
    "config no object": (lambda f: (f / "autockd.json").write_text("[]"), r"autockd\.json: \(whole file\)"),
    "config not UTF-8": (lambda f: (f / "autockd.json").write_bytes(b'{"study": "\xff"}'), r"autockd\.json: "),
    "unknown key": (_config(hook="os.system"), r"autockd\.json: image\.hook"),
    "class names": (_config(classes=["a", "b", "c", "d"]), r"does not fit ResNet6n2: .* linear\.weight"),
    "classes beyond memory": (_config(classes=[""] * 10**6), r"no tensor is large enough for 1000000 classes"),
    "channels": (_config(channels=3), r"mean has 1 values for 3 channels"),
    "deviation of zero": (_config(std=[0.0]), r"autockd\.json: image\.std"),
    "image size": (_config(image_size=[8, 10**9]), r"autockd\.json: image\.image_size"),
    "kind unknown": (_config(kind="sound"), r"autockd\.json: .*'sound'"),
    "kind of text": (_config(kind="text"), r"autockd\.json: text\.architecture"),
    "architecture unknown": (_architecture(family="os.system"), r"autockd\.json: image\.architecture"),
    "architecture with weights": (_architecture(weights="/etc/passwd"), r"autockd\.json: image\.architecture"),
    "architecture narrower": (_architecture(width=3), r"does not fit ResNet6n2: .* of another shape"),
    "architecture a bit wider": (_architecture(widths=[4, 8, 17]), r"does not fit ResNet6n2: .* of another shape"),
    "architecture deeper": (_architecture(depth=14, width=1), r"does not fit ResNet6n2: .* missing"),
    "architecture of another family": (
        _config(architecture={"family": "torchvision", "name": "squeezenet1_1"}),
        r"does not fit SqueezeNet: .* missing",
    ),
    "shortcuts": (_architecture(shortcut="B"), r"does not fit ResNet6n2: .* missing"),
    "depth beyond memory": (_architecture(depth=6 * 10**9 + 2), r"too few for .* 6000000002 layers"),
    "width beyond memory": (_architecture(width=10**6), r"too few for .* up to 4000000 channels"),
    "last width beyond memory": (_architecture(widths=[1, 1, 10**6]), r"too few for .* up to 1000000 channels"),
}


@pytest.mark.parametrize(("harm", "message"), FORGED.values(), ids=FORGED.keys())
def test_refuses_what_a_forged_manifest_covers(copied: Path, harm: Harm, message: str) -> None:
    harm(copied)
    write_manifest(copied)
    with pytest.raises(ExportError, match=message) as caught:
        load_bundle(copied)
    assert " -> " in str(caught.value)


def test_the_copy_itself_is_sound(copied: Path) -> None:
    write_manifest(copied)
    assert load_bundle(copied).config.study == "s"


@pytest.mark.parametrize("name", sorted(LITTER))
def test_what_a_file_manager_leaves_in_a_bundle_is_no_part_of_it(copied: Path, name: str) -> None:
    before = load_bundle(copied).manifest_hash
    (copied / name).write_bytes(b"icons")
    assert load_bundle(copied).manifest_hash == before


def test_what_git_and_the_hub_leave_in_a_bundle_is_never_looked_at(copied: Path) -> None:
    before = load_bundle(copied).manifest_hash
    through_the_hub(copied)
    assert load_bundle(copied).manifest_hash == before
    shutil.rmtree(copied / ".git")
    (copied / ".git").write_text("gitdir: /etc")  # as git has it in a submodule
    assert load_bundle(copied).manifest_hash == before


@pytest.mark.parametrize("place", ["nowhere", "file.json"])
def test_missing_folder_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file.json").write_text("{}")
    with pytest.raises(UsageError, match=rf"{place}: there is no such folder -> ") as caught:
        load_bundle(tmp_path / place)
    assert caught.value.exit_code == 2


def _graph(folder: Path, *, inputs: str = "pixels", location: str | None = None) -> Path:
    """A graph that adds four numbers to its input; with a location they come from that file."""
    from onnx import TensorProto, helper

    numbers = helper.make_tensor("w", TensorProto.FLOAT, [4], [0.0] * 4)
    if location is not None:
        numbers = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        numbers.external_data.add(key="location", value=location)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in (inputs, "logits")]
    graph = helper.make_graph([helper.make_node("Add", [inputs, "w"], ["logits"])], "g", ends[:1], ends[1:], [numbers])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_onnx_model_reads_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "bundle").mkdir()
    for location in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(ExportError, match=r"model\.onnx: onnxruntime cannot load it"):
            OnnxModel(_graph(tmp_path / "bundle", location=location), ("pixels",))
    model = OnnxModel(_graph(tmp_path / "bundle"), ("pixels",))
    assert model.run({"pixels": torch.ones(2, 4)}).tolist() == [[1.0] * 4] * 2
    with pytest.raises(ExportError, match=r"fails on a batch of \{'pixels': \[2, 5\]\}"):
        model.run({"pixels": torch.ones(2, 5)})


def test_onnx_model_with_other_ends_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"takes \['x'\] to \['logits'\]"):
        OnnxModel(_graph(tmp_path, inputs="x"), ("pixels",))
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="onnxruntime cannot load it"):
        OnnxModel(tmp_path / "model.onnx", ("pixels",))


def _node(kind: str = "Add", domain: str = "", **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, ["pixels", "pixels"], ["logits"], domain=domain, **attributes)


def _model_of(*nodes: Any, functions: Any = (), external: bool = False) -> Any:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("pixels", "logits")]
    tensors = [_outside("model.safetensors")] if external else []
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], tensors)
    imports = [helper.make_opsetid(domain, 18) for domain in {"", *(node.domain for node in nodes)}]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


def _outside(location: str) -> Any:
    from onnx import TensorProto

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def _nested(depth: int, innermost: Any) -> Any:
    """A node whose graph has a node whose graph ... has the innermost."""
    from onnx import helper

    node = innermost
    for _ in range(depth):
        graph = helper.make_graph([node], "inner", [], [])
        node = _node("If", then_branch=graph, else_branch=graph)
    return node


def _function() -> Any:
    from onnx import helper

    return helper.make_function("mine", "f", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], [])


GRAPHS: dict[str, tuple[Callable[[], Any], str]] = {
    "operator of somebody": (lambda: _model_of(_node("Evil", "com.evil")), r"operators of the domain 'com\.evil'"),
    "operator of onnxruntime": (
        lambda: _model_of(_node("FusedConv", "com.microsoft")),
        r"operators of the domain 'com\.microsoft'",
    ),
    "operator in a branch": (lambda: _model_of(_nested(2, _node("Evil", "x"))), r"operators of the domain 'x'"),
    "graphs too deep": (lambda: _model_of(_nested(9, _node())), r"nests graphs deeper than 8"),
    "function": (lambda: _model_of(_node(), functions=[_function()]), r"defines the function 'f'"),
    "weights in another file": (lambda: _model_of(_node(), external=True), r"keeps weights in another file"),
    "constant in another file": (
        lambda: _model_of(_node("Constant", value=_outside("../secret"))),
        r"keeps weights in another file",
    ),
}


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
@pytest.mark.parametrize(("graph", "message"), GRAPHS.values(), ids=GRAPHS.keys())
def test_refuses_graphs_that_lead_elsewhere(copied: Path, name: str, graph: Callable[[], Any], message: str) -> None:
    (copied / name).write_bytes(graph().SerializeToString())
    write_manifest(copied)
    with pytest.raises(ExportError, match=rf"{name.replace('.', '[.]')}: .*{message}.* -> "):
        load_bundle(copied)


def test_refuses_a_pickle_by_the_name_of_a_graph(copied: Path) -> None:
    (copied / "model.int8.onnx").write_bytes(pickle.dumps([1] * 100))
    write_manifest(copied)
    with pytest.raises(ExportError, match=r"model\.int8\.onnx: is not a sound ONNX file"):
        load_bundle(copied)


def test_a_plain_graph_and_figures_that_are_none(copied: Path) -> None:
    (copied / "model.onnx").write_bytes(_model_of(_node()).SerializeToString())
    (copied / "figures.json").write_text('{"models": []}')
    write_manifest(copied)
    bundle = load_bundle(copied)
    assert bundle.onnx_path is not None
    assert bundle.int8_path is None
    with pytest.raises(ExportError, match=r"figures\.json: runtime: Field required"):
        _ = bundle.figures


def test_a_folder_that_holds_a_bundle_is_not_taken_for_one_nor_are_its_files_to_be_removed(tmp_path: Path) -> None:
    """Such as a study's folder: what lies there is somebody's result."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "ledger.jsonl").touch()
    with pytest.raises(ExportError, match=r"is no bundle, manifest\.json is missing -> name a bundle's folder"):
        load_bundle(tmp_path)
    (tmp_path / "bundle" / "manifest.json").touch()
    with pytest.raises(ExportError, match=rf"is no bundle, .* -> did you mean {tmp_path / 'bundle'}\?"):
        load_bundle(tmp_path)
