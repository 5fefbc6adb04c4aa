"""What worker processes are made of: which files run in them, and what they know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import robustbench_ekdaa
from robustbench_ekdaa.executing.executor import executor
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.search_path import without_working_folder

PACKAGE = str(Path(robustbench_ekdaa.__file__).parent.parent)
COMMAND = Path(sys.executable).parent / "robustbench-ekdaa"

# Trains tiny models with two workers.
SCRIPT = """
import robustbench_ekdaa as rb
from robustbench_ekdaa import Benchmark
from robustbench_ekdaa.cards import ModelCard
{registers}
card = ModelCard.model_validate(dict(
    kind="model", name="quick", rule="{rule}", network=dict(blocks=[dict(layer="linear", width=4)]),
    training=dict(default=dict(epochs=1, learning_rate=0.1, batch_size=512)),
))
def train():
    return Benchmark("run", device="cpu", workers=2).train([card], "digits", range({seeds}))

{guard}print([record.status for record in train()])
"""
RULE = """
from robustbench_ekdaa.learning.rules.backprop import Backprop
@rb.register_rule("mine")
class Mine(Backprop): pass
"""
GUARD = 'if __name__ == "__main__":\n    '


def run(folder, registers="", rule="backprop", guard="", place=None, seeds=1):
    script = (place or folder) / "study.py"
    script.write_text(SCRIPT.format(registers=registers, rule=rule, guard=guard, seeds=seeds))
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=300, env=environment
    )


@pytest.mark.slow
def test_what_a_guarded_script_or_a_module_beside_it_registers_is_known_to_workers(tmp_path):
    assert run(tmp_path, RULE, "mine", GUARD).stdout == "['trained']\n"
    (tmp_path / "my_rules.py").write_text(f"import robustbench_ekdaa as rb{RULE}")
    done = run(tmp_path, "import my_rules", "mine")
    assert done.stdout == "['trained']\n", done.stderr


def test_a_script_that_registers_and_starts_work_without_a_guard_is_told_of_the_guard(tmp_path):
    done = run(tmp_path, RULE, "mine")
    last = done.stderr.splitlines()[-1]
    assert "study.py: starts work whenever it is run" in last
    assert 'if __name__ == "__main__":' in last


# A file for every module that the driver has, and one for some that workers might look for besides.
TRAPS = """
import os, sys
others = {"sitecustomize", "usercustomize", "tensorflow", "cupy", *sys.stdlib_module_names}
for name in {name.partition(".")[0] for name in sys.modules} | (others if not ON_THE_PATH else set()):
    open(f"{name}.py", "w").write(f"open('ran', 'a').write('{name} '); raise SystemExit(7)")
sys.path[:0] = ["", ".", os.getcwd()] if ON_THE_PATH else []
"""


@pytest.mark.parametrize("on_the_path", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_script_without_a_guard_trains_with_workers_in_which_no_file_of_the_working_folder_runs(
    tmp_path, on_the_path
):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    done = run(here, f"ON_THE_PATH = {on_the_path}\n{TRAPS}", place=elsewhere, seeds=2)
    assert (done.stdout, done.stderr) == ("['trained', 'trained']\n", "")
    assert (here / "torch.py").exists()
    assert not (here / "ran").exists()


def test_the_working_folder_is_searched_only_where_the_python_path_names_it_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    assert without_working_folder(["", ".", "lib", str(tmp_path), str(link), "/usr/lib"]) == ["/usr/lib"]
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}:lib")
    assert without_working_folder(["", str(tmp_path), str(tmp_path / "lib")]) == [str(tmp_path), str(tmp_path / "lib")]


def test_the_package_is_found_from_its_own_folder_but_after_everything_else(monkeypatch):
    monkeypatch.chdir(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", "")
    assert without_working_folder(["", "/usr/lib"]) == ["/usr/lib", PACKAGE]


def test_a_command_takes_no_library_from_the_working_folder_though_an_empty_python_path_names_it(tmp_path):
    for name in ("torch", "numpy", "sklearn"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'a')\nraise SystemExit(7)\n")
    command = [sys.executable, "-c", "from robustbench_ekdaa.cli import main; main()", "data", "status"]
    environment = {**os.environ, "PYTHONPATH": f":{PACKAGE}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "ran").exists()


def surroundings(progress):
    return os.getsid(0) == os.getpid(), os.environ["PYTHONPATH"], os.environ["PYTHONSAFEPATH"]


def test_a_worker_has_its_own_session_and_what_it_starts_searches_no_working_folder(
    monkeypatch,
):
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{PACKAGE}")
    with executor(2, Silent()) as runner:
        assert list(runner.run([surroundings])) == [(0, (True, PACKAGE, "1"))]
