"""Sweeps on a real Ray cluster of several nodes: the same outcomes, whatever happens to workers and nodes.

Nodes are processes of this machine with object stores of their own; they share its disk, but nothing here uses that:
`test_parcels` has the jobs done where the driver's folders are not to be seen.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustbench_ekdaa import Benchmark, RayCluster, SweepSpec
from robustbench_ekdaa.errors import WorkFailed
from robustbench_ekdaa.executing.ray_cluster import QUIET

from ..support.kept_lines import Lines
from ..support.quick_models import write_card

pytestmark = pytest.mark.slow
os.environ.update(QUIET)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'robustbench-ekdaa[ray]'")
ROOT = Path(__file__).parent.parent.parent
STORE = 80_000_000  # bytes of each node's object store; Ray allows hardly less
PATIENCE = 240  # seconds

# A rule that notes on which node it computes first, and does what a test asks for there.
RULE = """
import os, signal, time
from pathlib import Path
from robustbench_ekdaa.learning.rules.backprop import Backprop
class Noting(Backprop):
    begun = False
    def after_step(self):
        super().after_step()
        if not self.begun and os.getpid() != {driver}:
            self.begun = True
            import ray
            with open("{folder}/nodes", "a") as file:
                file.write(ray.get_runtime_context().get_node_id() + "\\n")
            self.act()
    def act(self):
        {does}
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
DIE_ONCE = """if not os.path.exists("{folder}/died"):
            open("{folder}/died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)"""
WAIT = """end = time.time() + 120
        while not os.path.exists("{folder}/go") and time.time() < end:
            time.sleep(0.1)"""


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and one node with two; tests add nodes, and remove what they added."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    made.add_node(num_cpus=2, object_store_memory=STORE)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def place(cluster):
    return RayCluster(address=cluster.address)


def write_rule(folder, does="pass"):
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models/noting.py").write_text(
        RULE.format(folder=folder, driver=os.getpid(), does=does.format(folder=folder))
    )
    write_card(folder, "noting", "noting.py:Noting", epochs=1)


def train_command(folder, address, *more, seeds=1):
    """Start the command line on the cluster in a process of its own."""
    command = [sys.executable, "-c", "from robustbench_ekdaa.cli import main; main()", "train", "noting"]
    about = ["--dataset", "digits", "--seeds", str(seeds), "--run", "run", "--workspace", ".", "--executor", "ray"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*command, *about, "--ray-address", address, *more], cwd=folder, env=environment, **pipes)


def wait_for_nodes(folder, number, process):
    """Wait until the rule has noted so many beginnings."""
    end = time.monotonic() + PATIENCE
    while not (folder / "nodes").exists() or len((folder / "nodes").read_text().split()) < number:
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail("\n".join(process.communicate()))
        time.sleep(0.1)


def test_without_a_cluster_one_is_started_and_nothing_of_it_is_left(tmp_path):
    write_card(tmp_path, "quick_bp", "backprop", epochs=1)
    for name in ("torch", "queue", "ray"):  # the working folder's files are nobody's modules
        (tmp_path / f"{name}.py").write_text("open('ran', 'a')\nraise SystemExit(7)\n")
    main = "from robustbench_ekdaa.cli import main; main()"
    script = f"import sys; sys.path[:] = [place for place in sys.path if place]; {main}"
    command = [sys.executable, "-c", script, "train", "quick_bp", "--dataset", "digits", "--seeds", "1"]
    # Should a cluster of another process of tests be found, it has no access control.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [*command, "--run", "run", "--workspace", ".", "--executor", "ray"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(" ")[0] for line in done.stderr.splitlines()] == ["Ray:", "train"]
    assert not (tmp_path / "ran").exists()


def test_a_sweep_on_a_cluster_has_the_results_of_one_on_this_machine_to_the_bit(place, tmp_path):
    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(tmp_path, name, rule)
    spec = SweepSpec(
        datasets=("digits",),
        models=("quick_bp", "quick_ekdaa"),
        attacks=("fgsm", "bim", "noise"),
        epsilons=(0, 0.1, 0.2),
        images=60,
        seeds=1,
        batch_size=32,
        save_images=True,
    )
    lines, files = Lines(), {}
    for name, workers in (("here", 1), ("there", place)):
        work = Benchmark(tmp_path / name, workspace=tmp_path, device="cpu", workers=workers, progress=lines)
        work.sweep(spec).frame().to_csv(tmp_path / f"{name}.csv")
        files[name] = {path.relative_to(work.run) for path in work.run.rglob("*.safetensors")}
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()
    assert files["here"] == files["there"]
    assert any(line.startswith("Ray: 2 nodes with 2 CPUs") for line in lines.lines)
    again = Benchmark(tmp_path / "there", workspace=tmp_path, device="cpu", workers=place, progress=lines)
    assert len(again.sweep(spec).frame()) > 0
    assert "to do: 0 trainings, 0 craftings, 0 cells" in lines.lines[-1]


def test_a_job_whose_worker_is_killed_is_done_again_without_a_word_of_ray_itself(place, tmp_path, capsys):
    write_rule(tmp_path, DIE_ONCE)
    lines = Lines()
    work = Benchmark(tmp_path / "run", workspace=tmp_path, device="cpu", workers=place, progress=lines)
    assert [record.status for record in work.train(["noting"], "digits", [0])] == ["trained"]
    assert len((tmp_path / "nodes").read_text().split()) == 2
    assert capsys.readouterr().out == ""
    lost = "the training of noting on digits, seed 0 was lost (its worker process died); it is done again"
    assert lost in lines.lines


def test_a_job_that_kills_every_worker_is_given_up_with_its_cause_and_the_others_are_kept(place, tmp_path):
    write_rule(tmp_path, DIE)
    write_card(tmp_path, "quick_bp", "backprop")
    work = Benchmark(tmp_path / "run", workspace=tmp_path, device="cpu", workers=place)
    with pytest.raises(WorkFailed, match=r"noting on digits, seed 0 was begun 3 times .* its worker process died"):
        work.train(["quick_bp", "noting"], "digits", [0])
    (trained,) = work.train(["quick_bp"], "digits", [0])
    assert trained.status == "trained"


def test_jobs_of_a_removed_node_are_done_on_a_node_that_was_added_in_the_middle(cluster, tmp_path):
    write_rule(tmp_path, WAIT)
    first = cluster.add_node(num_cpus=3, object_store_memory=STORE)  # the only one on which a job of three has room
    process = train_command(tmp_path, cluster.address, "--cpus-per-job", "3", seeds=2)
    wait_for_nodes(tmp_path, 1, process)
    cluster.remove_node(first, allow_graceful=False)
    second = cluster.add_node(num_cpus=6, object_store_memory=STORE)
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=PATIENCE)
    cluster.remove_node(second)
    assert process.returncode == 0, err
    nodes = (tmp_path / "nodes").read_text().split()
    assert (len(nodes), len(set(nodes))) == (3, 2)
    assert "is done again" in err


def test_a_node_that_is_added_in_the_middle_gets_jobs(cluster, tmp_path):
    write_rule(tmp_path, WAIT)
    process = train_command(tmp_path, cluster.address, "--cpus-per-job", "2", seeds=3)
    wait_for_nodes(tmp_path, 1, process)
    added = cluster.add_node(num_cpus=2, object_store_memory=STORE)
    wait_for_nodes(tmp_path, 2, process)
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=PATIENCE)
    cluster.remove_node(added)
    assert process.returncode == 0, err
    nodes = (tmp_path / "nodes").read_text().split()
    assert (len(nodes), len(set(nodes))) == (3, 2)
    assert "lost" not in err


def test_jobs_that_take_a_gpu_run_on_the_node_that_has_one(cluster, tmp_path):
    write_rule(tmp_path)
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE)  # Ray believes what it is told
    needs = RayCluster(address=cluster.address, gpus_per_job=0.5, cpus_per_job=0.5)
    lines = Lines()
    work = Benchmark(tmp_path / "run", workspace=tmp_path, device="cpu", workers=needs, progress=lines)
    records = work.train(["noting"], "digits", range(2))
    cluster.remove_node(node)
    assert [record.status for record in records] == ["trained"] * 2
    assert set((tmp_path / "nodes").read_text().split()) == {node.node_id}
    assert "a job takes 0.5 CPUs and 0.5 GPUs" in lines.lines[0]


def test_a_sweep_may_be_larger_than_the_memory_of_any_node(place, tmp_path):
    block = '{ layer = "linear", width = 1700 }'
    wide = f"[network]\nblocks = [{block}, {block}, {block}]\n"  # 23 MB each
    for number in range(5):
        write_card(tmp_path, f"wide_{number}", "backprop", epochs=1, rate=0.001 * (number + 1))
        path = tmp_path / "models" / f"wide_{number}.toml"
        text = path.read_text()
        path.write_text(text.replace(text[text.index("[network]") : text.index("[training")], wide))
    spec = SweepSpec(
        datasets=("digits",),
        models=[f"wide_{number}" for number in range(5)],
        attacks=("fgsm",),
        epsilons=(0, 0.1),
        images=20,
        seeds=1,
    )
    work = Benchmark(tmp_path / "run", workspace=tmp_path, device="cpu", workers=place)
    frame = work.sweep(spec).frame()
    assert len(frame[frame.epsilon > 0]) == 25
    assert sum(path.stat().st_size for path in work.run.glob("checkpoints/*.safetensors")) > 1.2 * STORE


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_leaves_the_cluster_and_says_so_in_one_line(cluster, tmp_path, sent, code):
    write_rule(tmp_path, WAIT)
    process = train_command(tmp_path, cluster.address)
    wait_for_nodes(tmp_path, 1, process)
    process.send_signal(sent)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (code, "")
    lines = err.splitlines()
    assert lines[0].startswith("Ray: ")
    assert lines[1:] == ["error: stopped; everything finished before is kept. Run the same command again to go on."]
