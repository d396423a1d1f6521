"""Export the best student of a study as a bundle: weights, config, ONNX, int8 ONNX, manifest.

.venv/bin/python scripts/export_best.py digits --to shipped/digits

The bundle's path goes to stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autockd.errors import AutockdError
from autockd.study import Study, studies_folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="STUDY", help="a study's name, or its folder")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    parser.add_argument("--trial", type=int, default=None, metavar="N", help="another trial than the best")
    parser.add_argument("--onnx", action=argparse.BooleanOptionalAction, help="an ONNX model too, or not")
    parser.add_argument("--int8", action=argparse.BooleanOptionalAction, help="an int8 ONNX model too, or not")
    parser.add_argument("--force", action="store_true", help="replace a bundle that stands there")
    parser.add_argument("--studies", type=Path, default=studies_folder(), help="folder of all studies")
    options = parser.parse_args(arguments)
    try:
        study = Study.open(options.name, options.studies)
        wanted = {"onnx": options.onnx, "int8": options.int8, "force": options.force, "warn": warn}
        print(study.export(options.trial, options.to, **wanted))
    except AutockdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
