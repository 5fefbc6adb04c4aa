"""Files in a workspace that are no cards: each is one line for whoever asks for it, and nothing to everybody else."""

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from robustbench_ekdaa.cards import Workspace, read_card, read_sweep
from robustbench_ekdaa.errors import UsageError

from ..support.right_cards import ATTACK, MODEL, SWEEP, write


def a_folder(path):
    path.mkdir()


def a_dangling_link(path):
    path.symlink_to("nowhere")


def a_loop_of_links(path):
    path.symlink_to(path.name)


def a_pipe(path):
    os.mkfifo(path)


def a_link_to_a_pipe(path):
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # its full name may be too long


def an_endless_device(path):
    path.symlink_to("/dev/zero")


def a_gigabyte(path):
    with path.open("wb") as file:
        file.truncate(2**30)  # of holes: it takes no room


def text_in_latin_1(path):
    path.write_bytes(MODEL.encode() + "# ä".encode("latin-1"))


def text_in_utf_16(path):
    path.write_bytes(MODEL.encode("utf-16"))


def deep_toml(path):
    path.write_text(f"kind = {'[' * 100_000}")


def deep_tables(path):
    path.write_text(MODEL + "[rule_options]\nx = " + "{a = " * 20_000)


def a_number_of_5000_digits(path):
    path.write_text(MODEL + f"[rule_options]\nbeta = {'9' * 5000}\n")


def a_day_that_never_was(path):
    path.write_text(MODEL + "[rule_options]\nday = 2026-02-30\n")


BAD = [
    (a_folder, "cannot be read (it is a folder)"),
    (a_dangling_link, "cannot be read (it is a link that leads nowhere)"),
    (a_loop_of_links, "cannot be read (Too many levels of symbolic links)"),
    (a_pipe, "cannot be read (it is a pipe)"),
    (a_link_to_a_pipe, "cannot be read (it is a pipe)"),
    (a_socket, "cannot be read (it is a socket)"),
    (an_endless_device, "cannot be read (it is a device)"),
    (a_gigabyte, "is too large (1 MB at most)"),
    (text_in_latin_1, "cannot be read (not UTF-8 text). Save it as UTF-8."),
    (text_in_utf_16, "cannot be read (not UTF-8 text). Save it as UTF-8."),
    (deep_toml, "not valid TOML: its lists or tables are nested too deep"),
    (deep_tables, "not valid TOML: its lists or tables are nested too deep"),
    (a_number_of_5000_digits, "not valid TOML: it holds a number or a date that does not exist"),
    (a_day_that_never_was, "not valid TOML"),
]


@pytest.mark.parametrize(("make", "reason"), BAD, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.parametrize("room", ["models", "attacks"])
def test_a_file_that_is_no_card_is_one_line_for_whoever_asks_for_it_and_nothing_to_others(
    tmp_path, monkeypatch, make, reason, room
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"models": MODEL, "attacks": ATTACK}[room], room=room)
    make(tmp_path / room / "bad.toml")
    before = time.perf_counter()
    shelf = getattr(Workspace("."), room)
    cards, problems = shelf.read_all()
    assert "mine" in {card.name for card in cards}
    assert [problem.startswith(f"{room}/bad.toml: {reason}") for problem in problems] == [True]
    assert shelf["mine"].name == "mine"
    with pytest.raises(UsageError) as caught:
        shelf["bad"]
    assert str(caught.value) == problems[0]
    assert "\n" not in problems[0]
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize(("make", "reason"), BAD, ids=lambda each: getattr(each, "__name__", ""))
def test_a_sweep_file_that_cannot_be_read_is_one_line(tmp_path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "sweep.toml")
    with pytest.raises(UsageError) as caught:
        read_sweep(Path("sweep.toml"))
    assert str(caught.value).startswith(f"sweep.toml: {reason}")


@contextlib.contextmanager
def somebody_else():
    """Be a user without rights, as far as files are concerned."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_card_or_a_folder_without_permission_is_named_with_the_reason():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = write(folder, MODEL)
        write(folder, ATTACK, room="attacks")
        path.chmod(0)
        (folder / "attacks").chmod(0)
        try:
            with somebody_else():
                workspace = Workspace(folder)
                with pytest.raises(UsageError, match=r"models/mine\.toml: cannot be read \(Permission denied\)"):
                    workspace.models["mine"]
                assert workspace.models["backprop"].name == "backprop"
                # Whether the workspace has an fgsm of its own, nobody knows.
                with pytest.raises(UsageError, match=r"attacks: cannot be read \(Permission denied\)"):
                    workspace.attacks["fgsm"]
                cards, problems = workspace.attacks.read_all()
                assert "fgsm" in {card.name for card in cards}
                assert len(problems) == 1
        finally:
            (folder / "attacks").chmod(0o755)


def test_dotfiles_are_no_cards(tmp_path):
    write(tmp_path, MODEL)
    (tmp_path / "models" / ".#mine.toml").symlink_to("user@host.123:456")  # Emacs locks a file so
    (tmp_path / "models" / "._mine.toml").write_bytes(b"\x00\x05\x16\x07\xff")  # macOS keeps a file's attributes so
    (tmp_path / "models" / ".toml").write_text("")
    models = Workspace(tmp_path).models
    assert models.read_all()[1] == []
    assert not [name for name in models if name.startswith(".")]


def test_a_room_that_is_a_file_is_named_by_whoever_needs_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").write_text("")
    workspace = Workspace(".")
    assert workspace.attacks["fgsm"].name == "fgsm"
    with pytest.raises(UsageError, match=r"^models: cannot be read \(Not a directory\)$"):
        workspace.models["backprop"]


@pytest.mark.parametrize("folder", ["absent", "file", "\0", "a" * 300, "loop", "link"])
def test_a_workspace_that_is_no_folder_is_one_line(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        Workspace(folder)


def test_a_byte_order_mark_and_the_line_ends_of_any_system_change_nothing(tmp_path):
    plain = read_card(write(tmp_path, MODEL))
    for text in (b"\xef\xbb\xbf" + MODEL.encode(), MODEL.replace("\n", "\r\n"), MODEL.replace("\n", "\r")):
        assert read_card(write(tmp_path, text)) == plain
        assert Workspace(tmp_path).models["mine"] == plain
    sweep = write(tmp_path, SWEEP, room=".")
    windows = write(tmp_path, b"\xef\xbb\xbf" + SWEEP.replace("\n", "\r\n").encode(), "windows", room=".")
    assert read_sweep(sweep) == read_sweep(windows)


def test_an_attack_in_models_and_a_model_in_attacks_are_told_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, ATTACK, room="models")
    write(tmp_path, MODEL, room="attacks")
    workspace = Workspace(".")
    with pytest.raises(UsageError, match=r"^models/mine\.toml: kind: a card of kind 'attack' belongs in attacks/"):
        workspace.models["mine"]
    with pytest.raises(UsageError, match=r"^attacks/mine\.toml: kind: a card of kind 'model' belongs in models/"):
        workspace.attacks["mine"]


def test_a_suite_is_a_suite_however_its_kind_is_written(tmp_path):
    for text in (
        '"kind" = \'suite\'\nname = "mine"\nattacks = ["fgsm"]\n',
        'notes = """\nkind = "attack"\n[update]\n"""\nname = "mine"\nattacks = [\n["fgsm"][0]\n]\n',
        'notes = """\nkind = "attack"\n[update]\n"""\nname = "mine"\nkind = "suite"\nattacks = [\n"fgsm"\n]\n',
    ):
        write(tmp_path, text, room="attacks")
        workspace = Workspace(tmp_path)
        if "[0]" in text:  # no TOML
            assert "mine" in workspace.attacks
        else:
            assert [card.name for card in workspace.expand_attacks(["mine"])] == ["fgsm"]


def test_an_attack_of_the_workspace_goes_before_a_suite_of_the_package(tmp_path):
    write(tmp_path, ATTACK.replace("mine", "paper"), "paper", room="attacks")
    assert [card.steps for card in Workspace(tmp_path).expand_attacks(["paper"])] == [3]


def test_a_suite_with_an_attack_that_nobody_knows_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'kind = "suite"\nname = "mine"\nattacks = ["fgsm", "fgms"]\n', room="attacks")
    with pytest.raises(UsageError, match=r"^attacks/mine\.toml: attacks: unknown attack 'fgms'\. Did you mean fgsm"):
        Workspace(".").expand_attacks(["mine"])
