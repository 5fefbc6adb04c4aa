"""Processes that a command has left behind, or not."""

import os
import time


def wait_until_all_are_gone(group):
    """Wait until no process of a group is left: workers must not outlive their driver."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("worker processes outlived their driver by ten seconds")
