"""What README.md prints for its readers to use: fenced blocks, command lines, and commands in the running text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

README = Path(__file__).parents[2] / "README.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Block:
    """A fenced block of README.md.

    Attributes:
        language: the word after the fence; empty for plain output.
        text: what it holds.
        line: where it begins.
    """

    language: str
    text: str
    line: int


def blocks(*languages: str) -> list[Block]:
    """The blocks in these languages, in order."""
    text = README.read_text(encoding="utf-8")
    found = [Block(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text)]
    return [block for block in found if block.language in languages]


def studies() -> list[Block]:
    """The YAML blocks that are whole studies."""
    return [block for block in blocks("yaml") if "task" in yaml.safe_load(block.text)]


def additions() -> list[Block]:
    """The YAML blocks that are parts of a study, to be written into one."""
    return [block for block in blocks("yaml") if "task" not in yaml.safe_load(block.text)]


def as_overrides(part: dict[str, Any]) -> list[str]:
    """A part of a study as words of a command line."""
    words = []
    for key, value in part.items():
        if isinstance(value, dict) and key != "space":
            words += [f"{key}.{inner}" for inner in as_overrides(value)]
        else:
            words.append(
                f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix('...').strip()}"
            )
    return words


def command_lines() -> list[list[str]]:
    """Every command of the shell blocks, as words; variables that are set for a command alone are left out."""
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    return [without_variables(words) for words in commands if words]


def without_variables(words: list[str]) -> list[str]:
    first = next((place for place, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
    return words[first:]


def synopses() -> list[tuple[str, list[str]]]:
    """Every command of autockd that stands in the running text or in a table, with its options."""
    text = _FENCE.sub("", README.read_text(encoding="utf-8"))
    return [(words[1], words[2:]) for words in _mentions(text) if not words[1].startswith("-")]


def general_options() -> list[str]:
    """Every option in the running text that belongs to no command."""
    text = _FENCE.sub("", README.read_text(encoding="utf-8"))
    return [words[1] for words in _mentions(text) if words[1].startswith("-")]


def _mentions(text: str) -> Iterator[list[str]]:
    for cell in re.findall(r"`(autockd [^`]+)`(?:, `([a-z]+ [A-Z][^`]*)`)*", text):
        yield cell[0].split()
    for line in text.splitlines():
        if line.startswith("| `autockd "):
            first = line.split("|")[1]
            yield from (
                ["autockd", *name.split()] for name in re.findall(r"`([^`]+)`", first) if not name.startswith("autockd")
            )
