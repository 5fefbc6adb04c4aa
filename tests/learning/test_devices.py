"""Every rule does the same work on a GPU as on the CPU.

The numbers can only be compared where there is a GPU. That no rule mixes devices, or waits for one to hand a number
over, can be seen anywhere: by torch's "meta" device, which is not the CPU and has no numbers to hand over.
"""

import pytest
import torch

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.learning import TrainingJob, train
from robustbench_ekdaa.learning.contract import rule_maker
from robustbench_ekdaa.learning.contract.bench import accepted, all_parameters, batch, fresh_network, main_network
from robustbench_ekdaa.learning.training import MEMORY_FORMAT
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.registry import RULES

from ..support.one_device import OneDevice

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_stays_on_its_network_s_device(digits, name):
    make = rule_maker(name, {})
    for spec in accepted(make, digits).values():
        network = fresh_network(spec, digits).to("meta", memory_format=MEMORY_FORMAT)
        images = torch.empty(8, *digits.image_shape, device="meta")
        labels = torch.empty(8, dtype=torch.int64, device="meta")
        rule = make()
        with OneDevice():
            rule.bind(network, keyed_generator(0, "feedback"))
            rule.compute_gradients(images, labels)
            rule.after_step()
        devices = {each.grad.device.type for each in all_parameters(rule).values() if each.grad is not None}
        assert devices == {"meta"}


def gradients(make, digits, device):
    network = fresh_network(main_network(make, digits), digits).double().to(device)
    rule = make()
    rule.bind(network, keyed_generator(0, "feedback"))
    images, labels = batch(digits, size=64, dtype=torch.float64)
    rule.compute_gradients(images.to(device), labels.to(device))
    rule.after_step()
    return {
        name: parameter.grad.cpu() for name, parameter in all_parameters(rule).items() if parameter.grad is not None
    }


@on_a_gpu
@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_gives_the_same_gradients_on_a_gpu(digits, name):
    make = rule_maker(name, {})
    there, here = gradients(make, digits, "cuda"), gradients(make, digits, "cpu")
    assert there.keys() == here.keys()
    for key, gradient in here.items():
        torch.testing.assert_close(there[key], gradient, rtol=1e-9, atol=1e-12, msg=key)


@on_a_gpu
@pytest.mark.parametrize("name", ["backprop", "ekdaa", "dfa"])
def test_a_training_on_a_gpu_ends_as_accurate_as_on_the_cpu(digits, tmp_path, name):
    job = TrainingJob(Workspace().models[name], "digits", digits.fingerprint, 0)
    accuracies = [train(job, digits, tmp_path / device, device=device)["test_accuracy"] for device in ("cpu", "cuda")]
    # Rounding differs and grows over an epoch: two standard errors of the difference at 95 % of 500 images.
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.028)
