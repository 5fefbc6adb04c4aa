"""`merge`: what it prints, and how it ends."""

from robustbench_ekdaa.storing.store import writing


def test_runs_are_merged_and_conflicts_are_listed_one_a_line(ran, tmp_path):
    code, printed, error = ran("merge runs/a runs/a --out runs/both")
    assert (code, error) == (0, "")
    assert printed == "Merged: 4 models, 44 outcomes in runs/both\n"
    with writing("runs/both") as store:
        (images,) = store.everything().image_sets
        key, classes = next(store.predictions(images))
        store.add_outcomes(images, {key: (classes + 1) % 10})
    code, printed, error = ran("merge runs/a runs/both --out runs/all")
    assert (code, printed) == (2, "")
    conflict, last = error.splitlines()
    assert conflict.startswith("conflict: digits: what quick_bp seed 0 predicts for the clean images is another")
    assert last.startswith("error: the runs do not fit together, and nothing was written: ")
    assert not (tmp_path / "runs" / "all").exists()
