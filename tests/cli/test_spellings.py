"""Commands take names in either spelling, hyphens or underscores, and say once which is right."""

import robustbench_ekdaa as rb

from ..support.right_cards import MODEL, write


def test_a_command_tells_the_right_spelling_once_and_prints_it(cli, tmp_path):
    write(tmp_path, MODEL.replace("mine", "my_model").replace("epochs = 2", "epochs = 1"), "my_model")
    code, _, error = cli(
        "sweep --dataset digits --models my-model,my_model --attacks fgsm-l1 --epsilons 0.1 --images 9 --seeds 2 "
        "--run r --workers 1"
    )
    assert code == 0, error
    assert error.count("warning: there is no model my-model; my_model is used. Write my_model.\n") == 1
    assert error.count("warning: there is no attack fgsm-l1; fgsm_l1 is used. Write fgsm_l1.\n") == 1
    frame = rb.open_results("r").frame()
    assert set(frame["target"]) == {"my_model"}
    assert set(frame["attack"].dropna()) == {"fgsm_l1"}


def test_a_list_names_two_cards_of_one_name_once(cli, tmp_path):
    for name in ("one-two", "one_two"):
        write(tmp_path, MODEL.replace("mine", name), name)
    code, out, error = cli("list models")
    assert (code, error.count("\n")) == (0, 1)
    assert error.startswith("not listed: models/one-two.toml and models/one_two.toml have names that differ")
    assert "kolen_pollack" in out
