"""docs/scale.md: its table is what the script computes from the speeds that are kept beside it."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "arithmetic.py"))
SPEEDS = json.loads((ROOT / "benchmarks" / "speeds.json").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_table_of_the_docs_is_what_the_script_prints():
    told = DOCS.partition("<!-- arithmetic -->")[2].partition("<!-- /arithmetic -->")[0].strip()
    assert told == f"Measured on {SPEEDS['machine']}.\n\n{SCRIPT['table'](SPEEDS)}"


def test_the_arithmetic_of_a_small_sweep_is_right():
    scale = SCRIPT["Scale"](models=10, surrogates=2, images=1000, block=5)
    speeds = {"training_step": 0.003, "crafting_step": 0.002, "forward_pass": 0.001, "checkpoint_bytes": 1e9}
    told = SCRIPT["column"](scale, speeds)
    assert told["jobs: craftings, per 5 targets"] == "72"  # 2 surrogates, 18 attacks, 2 blocks
    assert told["passes: training steps"] == "4.8e+06"
    assert told["passes: forward, of scoring"] == "2.9e+06"  # 10 targets, 2 surrogates, 1,000 images, 18 attacks, 8
    assert told["bytes: checkpoints"] == "10.0 GB"
    assert told["core hours: training"] == "4"
    hours = [float(told[f"core hours: {kind}"].replace(",", "")) for kind in ("training", "crafting", "scoring")]
    assert float(told["hours on 1 node of 64 cores"]) == pytest.approx(sum(hours) / 64, abs=0.1)


@pytest.mark.parametrize("flag", ["--executor ray", "--ray-address", "--cpus-per-job", "--gpus-per-job"])
def test_the_flags_that_the_docs_name_are_there(flag):
    source = (ROOT / "robustbench_ekdaa" / "cli" / "app.py").read_text(encoding="utf-8")
    name = flag.split()[0].removeprefix("--").title().replace("-", "").replace("Executor", "ExecutorName")
    assert flag in DOCS
    assert f"\n{name} = Annotated" in source
