"""Progress: bars on a terminal, lines elsewhere."""

import io

from rich.console import Console

from robustbench_ekdaa.progress import shown_progress


def show(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with shown_progress(console) as progress:
        bar = progress.task("train a [model]", 3)
        bar.advance(1, "loss 2.0")
        progress.line("said [in] between")
        bar.advance(2, "loss 1.0")
    return console.file.getvalue()


def test_a_log_gets_the_lines_and_one_for_each_finished_task():
    assert show(terminal=False) == "said [in] between\ntrain a [model]: loss 1.0\n"


def test_a_terminal_gets_bars_and_lines():
    text = show(terminal=True)
    assert "said [in] between" in text
    assert "train a [model]" in text
