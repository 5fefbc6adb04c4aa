"""What is said of a Ray cluster that cannot be, before anything runs; no Ray is needed for that."""

import importlib.util
import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from robustbench_ekdaa import Benchmark, RayCluster
from robustbench_ekdaa.cli.running import workplace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.scoring.sweep import choose_device

HERE = importlib.util.find_spec("ray") is not None


@pytest.mark.parametrize(
    "address", ["", "somewhere", "10.0.0.1", ":6379", "10.0.0.1:0", "10.0.0.1:99999", 6379, b"a:1"]
)
def test_an_address_is_host_and_port(address):
    with pytest.raises(UsageError, match="ray address: must be HOST:PORT"):
        RayCluster(address=address)


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf"), "1", True, 1e9])
@pytest.mark.parametrize("what", ["cpus_per_job", "gpus_per_job"])
def test_a_job_takes_more_than_nothing_and_less_than_everything(what, amount):
    with pytest.raises(UsageError, match=f"{what}: must be a number above 0"):
        RayCluster(**{what: amount})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, "local", "a:1", None, None), "--ray-address is about a Ray cluster"),
        ((2, "local", None, None, 0.5), "--gpus-per-job is about a Ray cluster"),
        ((2, "ray", None, None, None), "--workers counts processes of this machine"),
        ((None, "rai", None, None, None), r"unknown executor 'rai'\. Did you mean ray\?"),
    ],
)
def test_flags_that_do_not_go_together_are_told(given, message):
    with pytest.raises(UsageError, match=message):
        workplace(*given)


def test_the_flags_make_the_cluster_that_they_describe():
    assert workplace(3, "local", None, None, None) == 3
    cluster = workplace(None, "ray", "10.0.0.1:6379", None, 0.25)
    assert cluster == RayCluster(address="10.0.0.1:6379", gpus_per_job=0.25)
    assert (cluster.cpus_per_job, cluster.gpus("cpu"), cluster.gpus("cuda")) == (1.0, 0.25, 0.25)
    assert (RayCluster().gpus("cpu"), RayCluster().gpus("cuda")) == (0.0, 1.0)


def test_the_driver_needs_no_gpu_for_jobs_that_have_one():
    assert choose_device("auto", RayCluster()) == "cpu"
    assert choose_device("auto", RayCluster(gpus_per_job=0.5)) == "cuda"
    assert choose_device("cuda", RayCluster()) == "cuda"
    with pytest.raises(UsageError, match="device 'cuda:1': jobs on a Ray cluster are on cpu or cuda"):
        choose_device("cuda:1", RayCluster())


def test_where_ray_is_not_installed_one_line_says_what_to_install(tmp_path):
    if HERE:
        pytest.skip("Ray is installed")
    with pytest.raises(UsageError, match=r"is not installed\. pip install 'robustbench-ekdaa\[ray\]'"):
        Benchmark(tmp_path / "run", workers=RayCluster())
    assert not any(tmp_path.iterdir())


def test_an_address_where_nobody_answers_is_one_clear_line(tmp_path, monkeypatch):
    if not HERE:
        pytest.skip("Ray is not installed: pip install 'robustbench-ekdaa[ray]'")
    with socket.socket() as silent:  # bound, but it does not listen
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"ray address {address}: nobody answers there"):
            Benchmark(tmp_path / "run", workers=RayCluster(address=address))
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UsageError, match="nobody answers there"):
            Benchmark(tmp_path / "run", workers=RayCluster())
    assert not any(tmp_path.iterdir())


def test_a_server_that_is_no_head_of_a_cluster_is_one_clear_line_at_once(tmp_path):
    if not HERE:
        pytest.skip("Ray is not installed: pip install 'robustbench-ekdaa[ray]'")
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with pytest.raises(UsageError, match=f"ray address {address}: what answers there is no Ray cluster's head"):
            Benchmark(tmp_path / "run", workers=RayCluster(address=address))
        server.shutdown()
    assert not any(tmp_path.iterdir())
