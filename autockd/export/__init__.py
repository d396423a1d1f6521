"""Bundles: students as folders of plain data that verify themselves. Needs no training code to load."""

from autockd.export.bundle import Bundle, BundleInfo, load_bundle, write_bundle
from autockd.export.description import BundleConfig, ImageBundleConfig, TextBundleConfig
from autockd.export.evaluation import evaluate_bundle
from autockd.export.images import ImageStudent
from autockd.export.parity import Comparison, Parity
from autockd.export.student import Student
from autockd.export.texts import TextStudent

__all__ = [
    "Bundle",
    "BundleConfig",
    "BundleInfo",
    "Comparison",
    "ImageBundleConfig",
    "ImageStudent",
    "Parity",
    "Student",
    "TextBundleConfig",
    "TextStudent",
    "evaluate_bundle",
    "load_bundle",
    "write_bundle",
]
