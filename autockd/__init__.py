"""autockd: search, distil and export the best small student that a budget can buy."""

__version__ = "0.1.0"
