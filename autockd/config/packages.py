"""Files that come with a Python package: `package:NAME/PATH` is PATH in the folder of the installed package NAME."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PREFIX = "package:"


def package_path(text: str) -> Path | None:
    """The path that a `package:` text means, found without running the package's code; None for any other text.

    Raises:
        LookupError: no such package is installed.
    """
    if not text.startswith(PREFIX):
        return None
    name, _, rest = text.removeprefix(PREFIX).partition("/")
    try:
        spec = find_spec(name) if name.isidentifier() else None
    except ValueError:  # of a module that was not found on a path, as __main__
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0]) / rest
