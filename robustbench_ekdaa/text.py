"""Making text from outside (titles, paths, messages) safe to print on a terminal and fit for one line."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata

JOINERS = "\u200c\u200d"  # Persian, Hindi and composed emoji need them, and they do no harm
# Control characters, format characters (some change the direction of writing), surrogates, line and paragraph ends.
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
LINE_END = re.compile(r"\s*[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]\s*")


def visible(text: str) -> str:
    r"""Write what would control a terminal, and what is invisible, as escapes such as ``\x1b``.

    These are control characters except line ends and tabs, characters that change the direction of writing or have no
    width, and bytes of file names that are not UTF-8.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: object) -> str:
    """Return `visible` text in which line ends and tabs are replaced by a space."""
    return visible(LINE_END.sub(" ", str(text)).strip())


def shell_words(*words: str) -> str:
    r"""Return a command that can be typed again; words with invisible characters are written as ``$'\x1b'``."""
    return " ".join(
        shlex.quote(word) if word == one_line(word) else f"$'{''.join(map(_typed, word))}'" for word in words
    )


def _visible(letter: str) -> str:
    if letter in "\n\t" or letter in JOINERS or unicodedata.category(letter) not in UNSAFE:
        return letter
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _quoted(word: str) -> str:
    return f"$'{''.join(map(_typed, word))}'"


def _typed(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    return letter if letter == one_line(letter) else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
