"""Whether this process was asked to stop.

Ctrl-C raises KeyboardInterrupt wherever the process is, and C code that meets it may put another error in its place: a
sound file then looks damaged, a sound model failed. Whoever takes an error for a result asks here first.
"""

from __future__ import annotations

signals: list[int] = []  # those that came, the first first; the command line notes them


def go_on() -> None:
    """Raise KeyboardInterrupt if this process was asked to stop."""
    if signals:
        raise KeyboardInterrupt
