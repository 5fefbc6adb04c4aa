"""An attack card whose component raises, as long as environment variables say so."""

COMPONENT = '''
import os, signal, time

calls = 0

def swallow_ctrl_c():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("an error in its place") from None

class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

def start():
    """Begin a step beside the images, unless $RAISES says what to do instead, from the call $FROM on."""
    def begin(images, context):
        global calls
        calls += 1
        what = os.environ.get("RAISES") if calls >= int(os.environ.get("FROM", 0)) else None
        if what == "interrupt":
            swallow_ctrl_c()
        if what == "memory":
            return images.new_empty(10**15)
        if what == "exit":
            raise SystemExit(3)
        if what == "unprintable":
            raise Unprintable
        if what == "shape":
            return images[:, :, 1:]
        if what == "nan":
            return images * float("nan")
        if what:
            raise IndexError("my mistake")
        return images + 0.5 * context.epsilon
    return begin
'''
CARD = """
kind = "attack"
name = "mine"
norm = "linf"
steps = 1
[start]
component = "mine.py:start"
"""


def write_attack(folder):
    (folder / "attacks").mkdir(exist_ok=True)
    (folder / "attacks" / "mine.py").write_text(COMPONENT)
    (folder / "attacks" / "mine.toml").write_text(CARD)
