"""Opens a page once its server listens; a program of its own, because `autockd ui` becomes that server.

python -m autockd.cli.browser URL
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import webbrowser
from urllib.parse import urlsplit

_PATIENCE = 60.0


def open_later(url: str) -> None:
    """Open `url` in the user's browser as soon as its server listens, without waiting for that here."""
    if has_display():
        command = [sys.executable, "-m", __name__, url]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own module


def has_display() -> bool:
    """Whether a browser has somewhere to show itself; without, a text browser could take over the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def wait_for(url: str, patience: float = _PATIENCE) -> bool:
    """Whether something listens at the address within `patience` seconds."""
    address = urlsplit(url)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address.hostname or "127.0.0.1", address.port or 80), timeout=1):
                return True
        except OSError:
            time.sleep(0.2)
    return False


if __name__ == "__main__":
    if wait_for(sys.argv[1]):
        webbrowser.open(sys.argv[1])
