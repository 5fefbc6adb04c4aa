"""The keys of the package's own cards stand: no training and no outcome that somebody stored is lost to an update.

`keys.json` holds them as they were released. A card or a version that changes its numbers on purpose changes its line
there too.
"""

import json
from pathlib import Path

import pytest

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import attack_key
from robustbench_ekdaa.learning import TrainingJob

RELEASED = json.loads(Path(__file__).with_name("keys.json").read_text(encoding="utf-8"))
FINGERPRINTS = {
    "digits": "ab658f1da72aeb0ab87bc158713e64d770a22b9681b90e78a6861c1a77954d67",
    "fashion_mnist": "c73066047303edb2995de6c674db160283868d1831b893a41e55a963756aafe1",
}


@pytest.mark.parametrize("dataset", FINGERPRINTS)
def test_the_models_of_the_package_have_the_keys_they_were_released_with(tmp_path, dataset):
    models = Workspace(tmp_path).models
    fingerprint = FINGERPRINTS[dataset]
    released = RELEASED["models"][dataset]
    assert {name: TrainingJob(models[name], dataset, fingerprint, 0).key for name in released} == released


def test_the_attacks_of_the_package_have_the_keys_they_were_released_with(tmp_path):
    attacks = Workspace(tmp_path).attacks
    assert {name: attack_key(attacks[name], 0) for name in attacks.names()} == RELEASED["attacks"]
