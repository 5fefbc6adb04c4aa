"""A watcher that stops the work, as Ctrl-C would, after so many steps."""

from robustbench_ekdaa.progress import Silent


class StopAfter(Silent):
    """Raises KeyboardInterrupt once more than `steps` steps were shown."""

    def __init__(self, steps):
        self.left = steps

    def task(self, label, total):
        return self

    def advance(self, amount=1, note=None):
        self.left -= amount
        if self.left < 0:
            raise KeyboardInterrupt
