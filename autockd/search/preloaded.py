"""Ray's workers import this as they start, where they are told to; see `autockd.search.preload`."""

from autockd.search.preload import preload

preload()
