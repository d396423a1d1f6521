"""The house rules that no linter knows: public names, sizes, what is imported where, what no file may hold."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (".ci", "autockd", "scripts", "search_spaces", "tests")
SUFFIXES = ("", ".md", ".py", ".toml", ".yaml", ".sh")

LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 60

PUBLIC: dict[str, set[str]] = {
    "autockd.config": {"StudyConfig", "TrialConfig", "baseline_config", "load_study", "parse_study", "trial_config"},
    "autockd.data": {
        *("HeldOut", "ImageTask", "Split", "Task", "TextTask", "Texts", "Views", "load_task"),
    },
    "autockd.distillation": {
        *("LossParts", "Method", "Outputs", "Plan", "Row", "Run", "compile_plan", "learning_rates", "make_method"),
    },
    "autockd.export": {
        *("Bundle", "BundleConfig", "BundleInfo", "Comparison", "ImageBundleConfig", "ImageStudent", "Parity"),
        *("Student", "TextBundleConfig", "TextStudent"),
        *("evaluate_bundle", "load_bundle", "write_bundle"),
    },
    "autockd.models": {
        *("ENCODER_WEIGHTS", "PaddedShortcut", "ResNet6n2", "TextEncoder", "Tokens"),
        *("build_encoder", "build_model", "build_torchvision", "count_parameters", "encoder_shapes"),
        *(
            "load_tokenizer",
            "load_weights",
            "read_state",
            "reading_hash",
            "save_encoder",
            "save_weights",
            "weights_hash",
        ),
    },
    "autockd.report": {"list_studies", "summary_of"},
    "autockd.study": {
        *("Study", "cache_folder", "check", "evaluate", "list_studies", "preview", "studies_folder"),
    },
    "autockd.tracking": {
        *("Ledger", "MlflowSink", "SinkSummary", "default_uri", "events", "in_use", "plan_figure", "read_events"),
        *("redact", "sync"),
    },
}
"""What other code may import. A name that goes or changes is for the changelog."""

SLOW = {
    *("datasets", "matplotlib", "mlflow", "onnx", "onnxruntime", "onnxscript", "optuna", "plotly", "ray"),
    *("sklearn", "torchvision", "transformers"),
}
"""Packages that take long to import: whoever needs one imports it in a function."""

FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.full_load", "yaml.unsafe_load", "torch.hub.load"),
}
REQUIRED_ARGUMENTS = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "yaml.load": ("Loader", "PlainLoader"),
}
"""Calls that run code found in files, unless this argument stops them; `PlainLoader` is a SafeLoader of ours."""

FORBIDDEN_TEXT = {
    "a path of somebody's machine": re.compile(r"(?<![\w.~])/(?:root|work|Users)/"),
    "a reference that only its writer can follow": re.compile(r"\b(?i:issue|ticket|pull request|PR) #?\d"),
    "a reminder": re.compile(r"\b(?:TO-?DO|FIX-?ME|X{3})\b"),
}


@functools.cache
def files() -> tuple[Path, ...]:
    """Every text file of the project."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in (".md", ".toml")]
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts and path.is_file():
                found.append(path)
    return tuple(found)


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def python_files(*folders: str, naming: str = "") -> Iterator[tuple[Path, ast.Module]]:
    """The modules in some folders, or those of them whose text has a word."""
    for path in files():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders and naming in text_of(path):
            yield path, tree_of(path)


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay(module: str) -> None:
    imported = importlib.import_module(module)
    assert set(imported.__all__) == PUBLIC[module]
    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


def test_files_and_functions_stay_small() -> None:
    large = []
    for path, tree in python_files("autockd", "scripts"):
        if (lines := len(text_of(path).splitlines())) > LINES_OF_A_FILE:
            large.append(f"{path.relative_to(ROOT)} has {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LINES_OF_A_FUNCTION:
                    large.append(f"{place(path, node)}: {node.name} has {lines} lines")
    assert large == []


def test_slow_packages_are_imported_by_the_search_alone_or_in_functions() -> None:
    found = []
    for path, tree in python_files("autockd"):
        parts = path.relative_to(ROOT).parts
        unwanted = {"torch"} if parts[1] in ("config", "cli", "errors.py", "records.py", "folders.py") else set()
        unwanted |= set() if parts[1] == "search" else SLOW
        found += [f"{place(path, node)}: {name}" for node, name in imports(tree) if name.split(".")[0] in unwanted]
    assert found == []


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """What a module imports when it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or ""


def test_no_code_is_taken_from_files() -> None:
    found = []
    for path, tree in python_files("autockd", "scripts"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_forbidden(node):
                found.append(f"{place(path, node)}: {ast.unparse(node)}")
    assert found == []


def is_forbidden(call: ast.Call) -> bool:
    name, arguments = dotted(call.func), {keyword.arg: keyword.value for keyword in call.keywords}

    def is_given(argument: str, value: str) -> bool:
        return argument in arguments and ast.unparse(arguments[argument]) == value

    if name in REQUIRED_ARGUMENTS:
        return not is_given(*REQUIRED_ARGUMENTS[name])
    return name in FORBIDDEN_CALLS or is_given("trust_remote_code", "True") or is_given("shell", "True")


def dotted(function: ast.expr) -> str:
    """A name such as `torch.load`; empty where what is called has no name."""
    parts = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join([function.id, *reversed(parts)]) if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("yaml.load(text, Loader=yaml.Loader)", True),
        ("pickle.loads(data)", True),
        ("model.eval()", False),
        ("subprocess.run(command, shell=True)", True),
        ("load_dataset(name, trust_remote_code=True)", True),
    ],
)
def test_the_rule_above_can_tell(code: str, forbidden: bool) -> None:
    (statement,) = ast.parse(code).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    assert is_forbidden(statement.value) is forbidden


def test_yaml_is_loaded_safely() -> None:
    import yaml

    from autockd.config.plain_yaml import PlainLoader

    assert issubclass(PlainLoader, yaml.SafeLoader)


def test_tests_use_real_things() -> None:
    found = []
    for path, tree in python_files("tests", naming="mock"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and re.search(r"\bmock\b", ast.unparse(node)):
                found.append(f"{place(path, node)}: {ast.unparse(node)}")
    assert found == []


def test_the_project_speaks_of_itself_alone() -> None:
    found = []
    for path in files():
        for what, pattern in FORBIDDEN_TEXT.items():
            for match in pattern.finditer(text_of(path)):
                line = match.string.count("\n", 0, match.start()) + 1
                found.append(f"{path}:{line}: {what}")
    assert found == []


def shell_scripts() -> list[Path]:
    scripts = [path for path in files() if path.parent.name in ("scripts", ".ci") and path.suffix in ("", ".sh")]
    assert {"demo", "test", "lint", "build", "run"} <= {path.name for path in scripts}
    return scripts


def test_shell_scripts_parse_and_can_be_run() -> None:
    for path in shell_scripts():
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), path
        assert os.access(path, os.X_OK) is not path.name.startswith("_"), f"{path} has the wrong mode"


def test_continuous_integration_runs_what_contributors_run() -> None:
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
