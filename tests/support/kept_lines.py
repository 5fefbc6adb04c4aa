"""A progress display that can be asked what it has shown."""

from robustbench_ekdaa.progress import Silent


class Lines(Silent):
    """Keeps the lines."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)
