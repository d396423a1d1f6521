"""The arms of `scripts/benchmark_search.py`, what they share, and how they are judged."""
