"""Cards of models trained elsewhere: what they may say, and what is wrong with their files, in one line."""

import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.data import shared_dataset
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.learning import check_model, load_model, make_model, model_job

from ...support.external_models import SOURCE, write_external


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, write_external(folder, more="options = { width = 16 }")


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made[0] / "models", tmp_path / "models")
    return tmp_path


LINEAR = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def change(folder, before, after, file="theirs.toml"):
    path = folder / "models" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def job_of(folder, seed=0):
    return model_job(shared_dataset("digits"), Workspace(folder).models["theirs"], seed)


def checked(folder, seed=0):
    check_model(job_of(folder, seed), shared_dataset("digits"), folder / "run")


def test_a_model_from_elsewhere_answers_as_it_did_there_from_any_process(made, folder):
    digits, images = shared_dataset("digits"), shared_dataset("digits").test.images
    for seed in (0, 1):
        job = pickle.loads(pickle.dumps(job_of(folder, seed)))  # noqa: S301 (made here)
        check_model(job, digits, folder / "run")
        facts = make_model(job, digits, folder / "run")
        assert torch.equal(load_model(job, digits, folder / "run")(images), made[1][seed](images))
        assert (facts["epochs"], facts["train_accuracy"], facts["external"]) == (None, None, True)
        assert facts["test_accuracy"] > 0.8


def test_its_key_holds_code_weights_options_and_preprocessing_and_no_names(folder):
    keys = {seed: job_of(folder, seed).key for seed in (0, 1)}
    assert keys[0] != keys[1]
    change(folder, 'rule = "theirs"', 'rule = "other"')
    change(folder, "seeds = [0, 1]", "seeds = [1, 0]")
    assert keys == {seed: job_of(folder, seed).key for seed in (0, 1)}
    found = {keys[0]}
    change(folder, "width = 16", "width = 17")
    found.add(job_of(folder).key)
    change(folder, "options = { width = 17 }", "preprocess = { mean = [0.5], std = [0.5] }")
    found.add(job_of(folder).key)
    change(folder, "from torch", "# another line\nfrom torch", "theirs.py")
    found.add(job_of(folder).key)
    weights = folder / "models" / "weights" / "theirs-0.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)
    found.add(job_of(folder).key)
    assert len(found) == 5


def test_weights_may_be_a_state_dict_that_torch_saved(made, folder):
    torch.save(made[1][0].state_dict(), folder / "models" / "weights" / "theirs-0.pt")
    change(folder, ".safetensors", ".pt")
    digits = shared_dataset("digits")
    checked(folder)
    make_model(job_of(folder), digits, folder / "run")
    loaded = load_model(job_of(folder), digits, folder / "run")
    assert torch.equal(loaded(digits.test.images), made[1][0](digits.test.images))


def test_what_the_module_expects_to_be_done_to_pixels_is_its_first_layer(made, folder):
    change(folder, "rule =", "preprocess = { mean = [0.25], std = [0.5] }\nrule =")
    digits, run = shared_dataset("digits"), folder / "run"
    make_model(job_of(folder), digits, run)
    images = digits.test.images[:20].requires_grad_()
    answer = load_model(job_of(folder), digits, run)(images)
    assert torch.equal(answer, made[1][0]((images - 0.25) / 0.5))
    assert torch.autograd.grad(answer.sum(), images)[0].abs().sum() > 0


def test_a_factory_may_be_a_function_of_an_installed_package(tmp_path):
    module = "torch.nn:Linear"
    write_external(
        tmp_path,
        seeds=(0,),
        source=LINEAR,
    )
    change(tmp_path, "theirs.py:make", module)
    change(tmp_path, "rule =", "options = { in_features = 64, out_features = 10 }\nrule =")
    weights = tmp_path / "models" / "weights" / "theirs-0.safetensors"
    save_file({name[2:]: tensor for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(UsageError, match=r"theirs\.toml: external: seed 0: check of output shape"):
        checked(tmp_path)  # it does not flatten; but it was found, made and filled
    change(tmp_path, module, "torchvision.models:squeezenet1_1")
    with pytest.raises(UsageError, match=r"external\.options: squeezenet1_1 fails: TypeError: .*in_features"):
        checked(tmp_path)
    change(tmp_path, "in_features = 64, out_features = 10", "num_classes = 10")
    with pytest.raises(
        UsageError, match=r"external\.weights: .*theirs-0\.safetensors: does not fit the module: it has"
    ):
        checked(tmp_path)
    change(tmp_path, "squeezenet1_1", "no_such_net")
    with pytest.raises(UsageError, match=r"external\.factory: torchvision\.models:no_such_net cannot be imported"):
        checked(tmp_path)
    change(tmp_path, "torchvision.models", "no_such_package.models")
    with pytest.raises(UsageError, match=r"external\.factory: no_such_package.models cannot be imported"):
        checked(tmp_path)


WRONG_CARDS = {
    "kind of url": ("weights/theirs", "ftp://example.org/theirs", r"external\.weights: must be a path, or a URL"),
    "secret in a url": ("weights/theirs", "https://me:pw@example.org/x", r"external\.weights: a URL must hold no user"),
    "file at a url": (
        "weights/theirs-{seed}.safetensors",
        "https://example.org/{seed}.zip?a=.pt",
        r"external\.weights: must be a file that ends in \.safetensors",
    ),
    "digest": ("rule =", 'sha256 = { 0 = "ab", 1 = "cd" }\nrule =', r"external\.sha256\.0: must be"),
    "digest of a seed": (
        "rule =",
        f'sha256 = {{ 0 = "{"0" * 64}" }}\nrule =',
        "external: sha256: must have a digest for each of the seeds",
    ),
    "kind of file": (".safetensors", ".npz", r"external\.weights: must be a file that ends in \.safetensors, \.pt"),
    "no seed in it": ("{seed}", "0", r"external: weights: must have \{seed\} in it, as there are 2 seeds"),
    "twice a seed": ("[0, 1]", "[0, 0]", "external: seeds: must differ"),
    "no seeds": ("[0, 1]", "[]", r"external\.seeds: must have at least 1 item"),
    "factory": ("theirs.py:make", "theirs.make", r"external\.factory: must be FILE\.py:FUNCTION or package"),
    "field": ("rule =", "epochs = 3\nrule =", r"external\.epochs: unknown field"),
    "deviation": ("rule =", "preprocess = { mean = [0.5], std = [0] }\nrule =", r"preprocess\.std\.0: must be greater"),
    "as many": ("rule =", "preprocess = { mean = [0.5], std = [1, 1] }\nrule =", "preprocess: must have as many std"),
    "no rule": ('rule = "theirs"', "", r"external\.rule: is missing"),
    "training": (
        "[external]",
        "[training.default]\nepochs = 1\nlearning_rate = 1\n[external]",
        "training: unknown",
    ),
}


@pytest.mark.parametrize("fault", WRONG_CARDS)
def test_what_is_wrong_in_a_card_is_one_line_with_file_and_field(fault, folder):
    before, after, said = WRONG_CARDS[fault]
    change(folder, before, after)
    with pytest.raises(UsageError, match=rf"theirs\.toml: {said}|theirs\.toml: external\.{said}") as raised:
        job_of(folder)
    assert "\n" not in str(raised.value)


def test_a_seed_that_a_card_does_not_have_is_one_line(folder):
    with pytest.raises(UsageError, match=r"theirs\.toml: seeds: there is no seed 2 \(only 0, 1\), and nothing is"):
        job_of(folder, 2)


def test_weights_that_are_not_there_or_fit_no_module_are_one_line(folder):
    weights = folder / "models" / "weights" / "theirs-0.safetensors"
    change(folder, "options = { width = 16 }", "options = { width = 9 }")
    with pytest.raises(UsageError, match=r"external\.weights: .*theirs-0\.safetensors: does not fit .*size mismatch"):
        checked(folder)
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(UsageError, match=r"external\.weights: .*theirs-0\.safetensors: is damaged"):
        checked(folder)
    weights.unlink()
    with pytest.raises(UsageError, match=r"external\.weights: .*theirs-0\.safetensors: cannot be read \(No such file"):
        checked(folder)
    weights.mkdir()
    with pytest.raises(UsageError, match=r"external\.weights: .*theirs-0\.safetensors: cannot be read \(it is a"):
        checked(folder)


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [Evil(), nn.Linear(2, 2), {"state_dict": {"a": torch.ones(1)}}, [1]])
def test_a_pickle_that_holds_more_than_tensors_is_refused_and_runs_nothing(content, folder, capsys):
    torch.save(content, folder / "models" / "weights" / "theirs-0.pt")
    change(folder, ".safetensors", ".pt")
    with pytest.raises(UsageError, match=r"external\.weights: .*theirs-0\.pt: .* Save module\.state_dict\(\)"):
        checked(folder)
    assert capsys.readouterr().out == ""


FACTORIES = {
    "def make(width): return None": r"external\.factory: theirs\.py:make must return a torch\.nn\.Module \(got None",
    "def make(width): return 1 / 0": r"external\.options: make fails: ZeroDivisionError",
    "def make(): return None": r"external\.options: unknown option 'width'",
    "def other(width): return None": r"external\.factory: unknown class in theirs\.py 'make'",
    "raise SystemExit(3)": r"could not be imported: SystemExit",
}


@pytest.mark.parametrize("source", FACTORIES)
def test_a_factory_that_makes_no_module_is_one_line(source, folder):
    (folder / "models" / "theirs.py").write_text(source)
    with pytest.raises(UsageError, match=FACTORIES[source]):
        checked(folder)


def test_a_check_that_fails_names_card_seed_and_check(folder):
    change(folder, "nn.Linear(width, 10),", "nn.Linear(width, 10), nn.Softmax(1)", "theirs.py")
    with pytest.raises(UsageError, match=r"theirs\.toml: external: seed 1: check of logits: it answers with probab"):
        checked(folder, 1)


def test_colours_that_do_not_fit_the_images_are_one_line(folder):
    change(folder, "rule =", "preprocess = { mean = [0.5, 0.5, 0.5], std = [1, 1, 1] }\nrule =")
    with pytest.raises(UsageError, match=r"external\.preprocess: has 3 channels, but digits has 1"):
        checked(folder)


def test_code_that_changes_during_a_sweep_is_noticed(folder):
    digits, run = shared_dataset("digits"), folder / "run"
    job = job_of(folder)
    make_model(job, digits, run)
    (folder / "models" / "theirs.py").write_text(SOURCE.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.raises(WorkFailed, match="theirs on digits, seed 0: changed since the sweep began"):
        load_model(job, digits, run)


def test_the_factorys_random_draws_take_nothing_from_the_callers(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    checked(folder)
    assert torch.equal(torch.get_rng_state(), before)
