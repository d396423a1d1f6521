"""Bundles: students as folders of plain data that verify themselves. Needs no training code to load."""

from autockd.export.bundle import Bundle, BundleInfo, load_bundle, write_bundle
from autockd.export.card import BundleConfig
from autockd.export.evaluation import evaluate_bundle
from autockd.export.parity import Comparison, Parity

__all__ = [
    "Bundle",
    "BundleConfig",
    "BundleInfo",
    "Comparison",
    "Parity",
    "evaluate_bundle",
    "load_bundle",
    "write_bundle",
]
