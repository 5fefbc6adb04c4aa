"""Publishing a run: only what its digests confirm, into a zoo that is whole at any time."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.files import read_tensors
from robustbench_ekdaa.zoo import publishing

from ..support.external_models import write_external
from ..support.full_disk import no_file_larger_than
from ..support.kept_lines import Lines
from ..support.quick_models import write_card


def index_of(zoo):
    return json.loads((zoo / "index.json").read_text())


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def states(shown):
    return [one.state for one in shown]


def test_a_zoo_has_the_models_their_cards_logs_and_digests(folder):
    models = index_of(folder / "zoo")["models"]
    assert {entry["seed"] for entry in models.values()} == {0, 1}
    for key, entry in models.items():
        weights, log = (folder / "zoo" / entry[part]["path"] for part in ("weights", "log"))
        assert weights.read_bytes() == (folder / "run" / "checkpoints" / f"{key}.safetensors").read_bytes()
        assert log.read_bytes() == (folder / "run" / "logs" / f"{key}.jsonl").read_bytes()
        assert entry["digest"] == read_tensors(weights).facts["digest"]
        assert (entry["name"], entry["rule"], entry["dataset"]) == ("quick", "backprop", "digits")
        assert entry["card"]["training"]["default"]["learning_rate"] == 0.05
        assert entry["figures"]["epochs"] == 2


def test_publishing_twice_changes_nothing(folder):
    before = content_of(folder / "zoo")
    assert states(rb.publish(folder / "run", folder / "zoo", workspace=folder)) == ["there already"] * 2
    assert content_of(folder / "zoo") == before


def test_another_run_is_added_to_the_same_zoo(folder):
    before = content_of(folder / "zoo")
    rb.train("other", "digits", 0, folder / "run2", workspace=folder)
    assert states(rb.publish(folder / "run2", (folder / "zoo").as_uri(), workspace=folder)) == ["added"]
    after = content_of(folder / "zoo")
    names = sorted(entry["name"] for entry in index_of(folder / "zoo")["models"].values())
    assert names == ["other", "quick", "quick"]
    assert {name: after[name] for name in before if name != "index.json"}.items() <= before.items()
    loaded = [
        rb.load_model(name, "digits", 0, folder / "new", workspace=folder, zoo=folder / "zoo", progress=Lines())
        for name in ("quick", "other")
    ]
    assert len(loaded) == 2


def test_another_training_of_the_same_card_does_not_take_the_place_of_the_first(folder):
    before = content_of(folder / "zoo")
    shutil.rmtree(folder / "run")
    rb.train("quick", "digits", 0, folder / "run", workspace=folder)
    path = next((folder / "run" / "checkpoints").iterdir())
    if path.read_bytes() == before[f"trained/{path.name}"]:
        pytest.skip("it took as many hundredths of a second as before, and has the same bytes")
    assert states(rb.publish(folder / "run", folder / "zoo", workspace=folder)) == ["kept"]
    assert content_of(folder / "zoo") == before


def test_a_file_that_a_zoo_lost_or_that_was_damaged_there_is_put_back(folder):
    before = content_of(folder / "zoo")
    weights, log = sorted((folder / "zoo" / "trained").glob("*"))[:2]
    weights.unlink()
    log.write_bytes(log.read_bytes()[:-1] + b"x")
    assert states(rb.publish(folder / "run", folder / "zoo", workspace=folder)) == ["there already"] * 2
    assert content_of(folder / "zoo") == before


@pytest.mark.parametrize("part, said", [("checkpoints", "is damaged"), ("logs", "is not the log that")])
def test_a_flipped_file_is_refused_by_name_and_nothing_is_published(part, said, folder):
    path = next(path for path in (folder / "run" / part).iterdir())
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"nothing was published: quick on digits, seed \d: .*{path.name}: {said}"):
        rb.publish(folder / "run", folder / "elsewhere", workspace=folder)
    assert not (folder / "elsewhere").exists()


def test_a_checkpoint_in_the_place_of_another_is_refused_by_name(folder):
    one, other = (folder / "run" / "checkpoints").iterdir()
    shutil.copy(one, other)
    with pytest.raises(UsageError, match=rf"{other.name}: is not the checkpoint that results\.sqlite speaks of"):
        rb.publish(folder / "run", folder / "elsewhere", workspace=folder)


def test_a_checkpoint_that_is_gone_is_refused_by_name(folder):
    path = next((folder / "run" / "checkpoints").iterdir())
    path.unlink()
    with pytest.raises(UsageError, match=rf"quick on digits, seed \d: .*{path.name}: there is no such file"):
        rb.publish(folder / "run", folder / "elsewhere", workspace=folder)


def test_a_log_that_is_gone_is_left_out(folder):
    shutil.rmtree(folder / "run" / "logs")
    rb.publish(folder / "run", folder / "elsewhere", workspace=folder)
    assert [entry["log"] for entry in index_of(folder / "elsewhere")["models"].values()] == [None, None]
    rb.train("quick", "digits", 0, folder / "new", workspace=folder, zoo=folder / "elsewhere")
    assert len(read_trainings(folder / "new").unread) == 1


def test_a_card_that_was_changed_since_or_is_gone_is_left_out(folder):
    write_card(folder, "quick", "backprop", rate=0.06)
    rb.publish(folder / "run", folder / "one", workspace=folder)
    (folder / "models" / "quick.toml").unlink()
    rb.publish(folder / "run", folder / "two", workspace=folder)
    for zoo in ("one", "two"):
        assert [entry["card"] for entry in index_of(folder / zoo)["models"].values()] == [None, None]


def test_titles_and_notes_that_would_control_a_terminal_are_published_as_plain_text(folder):
    write_card(folder, "odd", "backprop", top='title = "\\u001b[31mred"\nnotes = "a\\u001b\\n[b]"')
    rb.train("odd", "digits", 0, folder / "odd", workspace=folder)
    rb.publish(folder / "odd", folder / "elsewhere", workspace=folder)
    (entry,) = index_of(folder / "elsewhere")["models"].values()
    assert (entry["title"], entry["card"]["notes"]) == ("\\x1b[31mred", "a\\x1b\n[b]")
    rb.train("odd", "digits", 0, folder / "new", workspace=folder, zoo=folder / "elsewhere")


def test_models_trained_elsewhere_are_not_published_and_that_is_told(folder):
    write_external(folder, "theirs", seeds=(0,))
    rb.train("theirs", "digits", 0, folder / "run", workspace=folder)
    lines = Lines()
    shown = rb.publish(folder / "run", folder / "elsewhere", workspace=folder, progress=lines)
    assert [one.label for one in shown] == ["quick on digits, seed 0", "quick on digits, seed 1"]
    assert any("theirs on digits, seed 0: was trained elsewhere" in line for line in lines.lines)
    rb.train("theirs", "digits", 0, folder / "alone", workspace=folder)
    with pytest.raises(UsageError, match="alone: nothing that could be published was trained here"):
        rb.publish(folder / "alone", folder / "elsewhere", workspace=folder)


@pytest.mark.parametrize(
    "to, match",
    [
        (lambda folder: folder / "models" / "quick.toml", r"quick\.toml: could not be written .* Choose another --to"),
        (lambda folder: "/proc/zoo", r"/proc/zoo: could not be written .* Choose another --to"),
        (lambda folder: folder / "run" / "zoo", r"run/zoo: lies in the run folder .* Choose another --to"),
        (lambda folder: folder / "run", r"run: lies in the run folder"),
        (lambda folder: "https://here/zoo", r"to: https: is only read"),
        (lambda folder: "ftp://here/zoo", r"to: must be a path, or a URL"),
        (lambda folder: "", r"to: must be a path"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(to, match, folder):
    with pytest.raises(UsageError, match=match) as caught:
        rb.publish(folder / "run", to(folder), workspace=folder)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root can write to what is read-only")
def test_a_read_only_folder_is_one_line(folder):
    (folder / "zoo").chmod(0o555)
    try:
        with pytest.raises(UsageError, match="zoo: could not be written"):
            rb.publish(folder / "run", folder / "zoo", workspace=folder)
    finally:
        (folder / "zoo").chmod(0o755)


def test_a_folder_with_an_index_of_something_else_stays_as_it_is(folder):
    (folder / "site").mkdir()
    (folder / "site" / "index.json").write_text('{"pages": []}')
    with pytest.raises(UsageError, match=r"site/index\.json: is not the index of a zoo"):
        rb.publish(folder / "run", folder / "site", workspace=folder)
    assert (folder / "site" / "index.json").read_text() == '{"pages": []}'
    assert not (folder / "site" / "trained").exists()


def test_on_a_full_disk_the_zoo_is_as_it_was(folder):
    before = content_of(folder / "zoo")
    rb.train("other", "digits", 0, folder / "run2", workspace=folder)
    with no_file_larger_than(2000), pytest.raises(WorkFailed, match="could not be written"):
        rb.publish(folder / "run2", folder / "zoo", workspace=folder)
    assert content_of(folder / "zoo").items() >= before.items()
    assert index_of(folder / "zoo") == json.loads(before["index.json"])


def killed_after(files, publish):
    """Publish in a process that is killed when it is about to write one file more."""
    process = os.fork()
    if process == 0:
        real, left = publishing.put, [files]

        def put(*place):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*place)

        publishing.put = put
        try:
            publish()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("files", [0, 1, 2])
def test_a_publishing_that_is_killed_leaves_the_index_before_and_all_it_names(files, folder):
    rb.train("other", "digits", 0, folder / "run2", workspace=folder)
    before = content_of(folder / "zoo")
    assert killed_after(files, lambda: rb.publish(folder / "run2", folder / "zoo", workspace=folder))
    assert content_of(folder / "zoo").items() >= before.items()
    rb.train("quick", "digits", 0, folder / "new", workspace=folder, zoo=folder / "zoo")
    assert states(rb.publish(folder / "run2", folder / "zoo", workspace=folder)) == ["added"]


def test_of_two_that_publish_at_once_none_loses_the_other_s(folder):
    for name in ("other", "quick"):
        rb.train(name, "digits", 3, folder / name, workspace=folder)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: rb.publish(folder / name, folder / "zoo", workspace=folder), ("other", "quick")))
    assert len(index_of(folder / "zoo")["models"]) == 4


def test_files_are_written_before_the_index(folder, monkeypatch):
    written = []
    real = publishing.put
    monkeypatch.setattr(publishing, "put", lambda place, *rest: (written.append(place.path.name), real(place, *rest)))
    rb.publish(folder / "run", folder / "elsewhere", workspace=folder)
    assert written[-1] == "index.json"
    assert sorted(path.rpartition(".")[2] for path in written[:-1]) == ["jsonl", "jsonl", "safetensors", "safetensors"]
