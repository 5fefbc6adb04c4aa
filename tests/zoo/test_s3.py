"""A zoo in S3, on a real server that speaks its language; where the packages for that are not, this is skipped."""

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError, WorkFailed

from ..support.kept_lines import Lines

s3fs = pytest.importorskip("s3fs")
servers = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")


@pytest.fixture
def bucket(monkeypatch):
    server = servers.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    facts = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}
    for name, value in facts.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    boto3.client("s3").create_bucket(Bucket="zoos")
    s3fs.S3FileSystem.clear_instance_cache()  # they remember their server
    yield "s3://zoos"
    server.stop()


def test_a_zoo_in_s3_is_published_to_and_taken_from(bucket, folder):
    for state in ("added", "there already"):
        assert {one.state for one in rb.publish(folder / "run", f"{bucket}/mine", workspace=folder)} == {state}
    rb.train("other", "digits", 0, folder / "run2", workspace=folder)
    rb.publish(folder / "run2", f"{bucket}/mine", workspace=folder)
    options = {"run": folder / "new", "workspace": folder, "zoo": f"{bucket}/mine", "progress": Lines()}
    for name in ("quick", "other"):
        assert rb.load_model(name, "digits", 0, **options)


def test_what_is_wrong_in_s3_is_one_line(bucket, folder, monkeypatch):
    take = {"run": folder / "new", "workspace": folder}
    with pytest.raises(UsageError, match=r"s3://zoos/none/index\.json: there is no such file"):
        rb.load_model("quick", "digits", 0, **take, zoo=f"{bucket}/none")
    for ask in (
        lambda: rb.load_model("quick", "digits", 0, **take, zoo="s3://nobody/zoo"),
        lambda: rb.publish(folder / "run", "s3://nobody/zoo", workspace=folder),
    ):
        with pytest.raises(UsageError, match=r"s3://nobody/zoo/\S+: there is no such file") as caught:
            ask()
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(WorkFailed, match="does not answer"):
        rb.load_model("quick", "digits", 0, **take, zoo=f"{bucket}/mine")
