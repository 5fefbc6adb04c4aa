"""Text from elsewhere reaches no terminal as a command, and stays in its line."""

import os
import subprocess
import unicodedata

import pytest

from robustbench_ekdaa.text import one_line, shell_words, visible

LETTERS = [chr(number) for number in range(0x110000)]


def test_no_character_that_a_terminal_obeys_or_that_turns_the_direction_of_writing_is_left():
    for text in (visible("".join(LETTERS)), one_line("".join(LETTERS))):
        left = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert left <= {"\n", "\t", "\u200c", "\u200d"}
        assert text.encode("utf-8")
    assert not set("\n\t") & set(one_line("".join(LETTERS)))


def test_letters_of_all_scripts_and_composed_emoji_stay_as_they_are():
    for text in ("ε = 0,1 ± ∞", "手写数字", "می‌خواهم", "हिन्दी", "👩‍🔬", "Ünïcödé", "[bold] $x$ `a` \\n"):
        assert visible(text) == one_line(text) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\U000e0041", "\\U000e0041"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("two \n  lines\r\nand\u2028more\n", "two lines and more"),
        ("a  b", "a  b"),
    ],
)
def test_they_are_written_as_escapes(text, written):
    assert one_line(text) == written


def test_a_command_can_be_typed_again_whatever_is_in_it():
    words = [
        "a b",
        "it's",
        "\\",
        "$HOME",
        "\x1b[31m",
        "new\nline 'it' \\x41",
        os.fsdecode(b"caf\xe9 1"),
        "\u202e0",
        "é",
    ]
    command = shell_words("printf", r"%s\0", *words)
    assert command == one_line(command)
    printed = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    assert printed.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
