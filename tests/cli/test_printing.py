"""What is printed is text, whatever is in it, on every stream."""

import io
import json
import os
import resource
import subprocess
import sys

import pytest

from ..support.command_line import PROGRAM, SWEEP
from ..support.quick_models import write_card

HOSTILE = "Mine [/v2] [bold]x \x1b[31mred \x9b0m \u202eabc :smile:\u2028 手写"
WRITTEN = "Mine [/v2] [bold]x \\x1b[31mred \\x9b0m \\u202eabc :smile: 手写"


def toml(text):
    return json.dumps(text)  # TOML's strings know JSON's escapes


def without_spaces(text):
    return "".join(text.split())


@pytest.fixture
def written_to(cli, monkeypatch):
    """Run a command whose standard output has an encoding; returns its exit code and the bytes it wrote."""

    def run(command, encoding):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        code, _, error = cli(command)
        return code, stream.buffer.getvalue(), error

    return run


def test_titles_are_text_in_tables_and_progress_and_in_json(cli, tmp_path, monkeypatch):
    write_card(tmp_path, "quick_bp", "backprop", top=f"title = {toml(HOSTILE)}\n")
    code, out, _ = cli("list models")
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    monkeypatch.setenv("COLUMNS", "400")
    assert WRITTEN in cli("list models")[1]
    rows = {row["name"]: row for row in json.loads(cli("list models --json")[1])}
    assert rows["quick_bp"]["title"] == HOSTILE
    assert cli("list models --json")[1].isascii()
    code, out, error = cli(f"{SWEEP.replace(',quick_ekdaa', '')} --run runs/a --workers 1")
    assert code == 0, error
    for part in WRITTEN.split():
        assert part in out
    assert not {"\x1b", "\x9b", "\u202e"} & set(out + error)


def test_folders_in_brackets_are_named_as_they_are(cli, tmp_path):
    place = "ws [bold]"
    (tmp_path / place).mkdir()
    write_card(tmp_path / place, "quick_bp", "backprop")
    sweep = [*SWEEP.replace(",quick_ekdaa", "").split(), "--workers", "1", "--workspace", place, "--run", "run [red]"]
    code, out, error = cli(sweep)
    assert code == 0, error
    assert "robustbench-ekdaa report 'run [red]' --out report" in out
    code, out, _ = cli(["report", "run [red]", "--out", "report [b]"])
    assert (code, out) == (0, "Report: report [b]/index.html\n")
    code, out, _ = cli(["export", "run [red]", "--out", "rows [b].csv"])
    assert (code, out) == (0, "rows [b].csv: 18 rows\n")
    code, out, _ = cli(["init", "new [i]"])
    assert "cd 'new [i]' &&" in out
    assert "new [i]/sweep.toml" in out
    code, _, error = cli(["report", "no [/x]", "--out", "x"])
    assert (code, error.split(":")[1]) == (2, " no [/x]")


@pytest.mark.parametrize(
    "command",
    [
        ["list", "\x1b[31m"],
        ["\x1b[31m\nnew"],
        ["list", "models", "--\x1b[31m"],
        ["report", "no\n\x1b]0;title\x07\u202e", "--out", "x"],
        ["train", "quick\r\x9b", "--dataset", "digits", "--run", "r"],
        ["train", "backprop", "--dataset", "\x1bc\n", "--run", "r"],
        ["sweep", "\x1bc\n.toml", "--run", "r"],
        ["data", "import", "\x1bc\n.npz", "--name", "x"],
        ["check-rule", "\x1bc\n.py:X"],
        ["report", os.fsdecode(b"\xff\x1b"), "--out", "x"],
    ],
)
def test_an_error_is_one_line_without_commands_to_the_terminal(cli, command):
    code, out, error = cli(command)
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.endswith("\n")
    assert error[:-1].isprintable()


def test_so_is_what_somebody_s_rule_raises(cli, tmp_path):
    (tmp_path / "bad.py").write_text(
        "from robustbench_ekdaa.learning.rules.backprop import Backprop\n"
        "class Bad(Backprop):\n"
        "    def compute_gradients(self, images, labels):\n"
        '        raise RuntimeError("cannot read [/data/weights]\\nnor \\x1b[31m[bold]this")\n'
    )
    write_card(tmp_path, "bad", "../bad.py:Bad")
    code, out, error = cli("train bad --dataset digits --run r --seeds 1 --workers 1")
    assert code == 1
    assert "cannot read [/data/weights] nor \\x1b[31m[bold]this" in " ".join((out + error).split())
    assert "\x1b" not in out + error


def test_a_traceback_for_debugging_obeys_nothing_either(tmp_path):
    ended = subprocess.run([*PROGRAM, "list", "\x1b[31m", "--debug"], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "\\x1b[31m" in ended.stderr
    assert "\x1b" not in ended.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp932"])
def test_a_stream_that_lacks_letters_gets_others_and_ends_no_command(ran, written_to, encoding):
    code, wrote, error = written_to(f"{SWEEP} --run runs/a", encoding)
    assert code == 0, error
    text = wrote.decode(encoding)
    assert "eps" in text or "ε" in text
    assert "quick_ekdaa" in text


def test_a_stream_that_lacks_a_title_s_letters_gets_escapes(cli, tmp_path, written_to):
    write_card(tmp_path, "quick_bp", "backprop", top='title = "手写"\n')
    code, wrote, _ = written_to("list models", "ascii")
    assert code == 0
    assert b"\\u624b\\u5199" in wrote


def test_a_whole_process_with_a_poor_encoding_prints_help_and_lists(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "COLUMNS": "0"}
    for command in ("--help", "sweep --help", "list models"):
        ended = subprocess.run([*PROGRAM, *command.split()], capture_output=True, cwd=tmp_path, env=environment)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert len(ended.stdout.decode("cp1252").split()) > 20


@pytest.mark.parametrize("columns", ["0", "1", "12", "60"])
def test_no_width_of_the_terminal_leaves_words_out(cli, monkeypatch, columns):
    wide = cli("list suites")[1]
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = cli("list suites")
    assert code == 0
    assert sorted(out.split()) == sorted(wide.split())
    assert cli("--version")[1].strip()
    assert "Example:" in cli("report --help")[1]


def test_a_long_name_leaves_no_column_out(cli, tmp_path):
    name = "a_model_of_a_long_name_" * 2 + "end"
    write_card(tmp_path, name, "backprop", top='title = "Long"\n')
    _, out, _ = cli("list models")
    width = out.splitlines()[0].index("role")
    assert name in "".join(line[:width].strip() for line in out.splitlines())
    assert "Long" in out


@pytest.mark.parametrize("buffered", [True, False])
def test_a_full_disk_under_standard_output_is_one_line_and_exit_code_1(tmp_path, buffered):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    environment |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
    for command in ("list attacks", "list attacks --json", "--help"):
        with (tmp_path / "out").open("wb") as file:
            ended = subprocess.run(
                [*PROGRAM, *command.split()], stdout=file, stderr=-1, preexec_fn=small_files, env=environment
            )
        message = b"error: the output could not be written (File too large); everything finished before is kept\n"
        assert (ended.returncode, ended.stderr) == (1, message)


def test_a_log_that_cannot_be_written_stops_no_sweep(cli, tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    (tmp_path / "log").write_bytes(b"." * (1 << 20))
    with (tmp_path / "log").open("ab") as log:
        command = [*PROGRAM, *SWEEP.replace(",quick_ekdaa", "").split(), "--run", "r", "--workers", "1"]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, preexec_fn=small_files, cwd=tmp_path)
    assert ended.returncode == 0
    assert b"quick_bp" in ended.stdout


def test_whoever_stops_reading_ends_the_command_in_silence(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*PROGRAM, "list", "attacks"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_closed_streams_change_no_exit_code(tmp_path):
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        line = " ".join([f"'{word}'" for word in [*PROGRAM, "list", "suites"]] + [closed])
        assert subprocess.run(["sh", "-c", line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    line = " ".join([f"'{word}'" for word in [*PROGRAM, "list", "nothing"]])
    assert subprocess.run(["sh", "-c", f"{line} 2>&-"], stdout=subprocess.PIPE).returncode == 2
