"""Exports read back to the same numbers, and a failure loses nothing."""

import json

import numpy as np
import pandas as pd
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.rendering import export
from robustbench_ekdaa.rendering.export import export_frame

from ..support.full_disk import no_file_larger_than


@pytest.fixture
def frame(real):
    return Results([real]).frame()


def test_csv_and_parquet_read_back_to_the_same_numbers(frame, tmp_path):
    assert export_frame(frame, tmp_path / "rows.csv", "csv") == len(frame)
    back = pd.read_csv(tmp_path / "rows.csv").astype(frame.dtypes.to_dict())
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    export_frame(frame, tmp_path / "rows.parquet", "parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), frame, check_exact=True)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_file_is_the_same_however_few_rows_are_written_at_a_time(tmp_path, monkeypatch, rows):
    frame = pd.DataFrame(
        {
            "text": pd.Series(["=x", "y", None, 'é\n"q', "z"], dtype="string"),
            "number": [1.5, np.nan, 0.1, np.inf, 2.0],
            "whole": pd.Series([1, None, 3, 4, 5], dtype="Int64"),
        }
    ).iloc[:rows]
    written = set()
    for at_a_time in (100, 2, 1):
        monkeypatch.setattr(export, "ROWS", at_a_time)
        files = [tmp_path / f"rows.{form}" for form in ("csv", "json")]
        for file in files:
            export_frame(frame, file, file.suffix[1:])
        written.add(tuple(file.read_bytes() for file in files))
    assert len(written) == 1
    assert len(json.loads(files[1].read_text())) == rows


def test_no_text_in_a_csv_file_is_a_formula_and_no_number_is_changed(frame, tmp_path):
    formulas = ['=HYPERLINK("x")', "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "a=1", "'=1", ""]
    hostile = pd.DataFrame(
        {
            "text": pd.Series(formulas, dtype="string"),
            "object": formulas,
            "missing": [None, pd.NA, np.nan, *formulas[3:]],
            "number": -np.arange(11) / 3,
            "whole": pd.Series([-1, pd.NA] + [2**62 + 1] * 9, dtype="Int64"),
            "yes": [True] * 11,
        }
    )
    for form in ("csv", "json", "parquet"):
        export_frame(hostile, tmp_path / f"rows.{form}", form)
    back = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False, lineterminator="\n", dtype={"whole": "string"})
    written = [f"'{text}" if place < 8 else text for place, text in enumerate(formulas)]
    assert list(back["text"]) == list(back["object"]) == written
    assert list(back["missing"]) == ["", "", "", *written[3:]]
    assert list(back["number"]) == list(hostile["number"])
    assert list(back["whole"]) == ["-1", ""] + [str(2**62 + 1)] * 9
    assert list(back["yes"]) == [True] * 11
    assert [row["text"] for row in json.loads((tmp_path / "rows.json").read_text())] == formulas
    assert list(pd.read_parquet(tmp_path / "rows.parquet")["text"]) == formulas


def test_json_is_a_list_of_rows_with_null_for_what_is_missing(frame, tmp_path):
    export_frame(frame, tmp_path / "rows.json", "json")
    rows = json.loads((tmp_path / "rows.json").read_text(), parse_constant=pytest.fail)
    assert len(rows) == len(frame)
    assert list(rows[0]) == list(frame.columns)
    for name in ("accuracy", "transfer_rate", "target_seed"):
        expected = [None if pd.isna(value) else value for value in frame[name]]
        assert [row[name] for row in rows] == expected


def test_an_infinite_number_has_no_form_in_json(tmp_path):
    export_frame(pd.DataFrame({"eps_50": [0.1, np.inf]}), tmp_path / "rows.json", "json")
    assert json.loads((tmp_path / "rows.json").read_text()) == [{"eps_50": 0.1}, {"eps_50": None}]


def test_folders_are_made_and_an_older_export_is_replaced(frame, tmp_path):
    path = tmp_path / "a" / "b" / "rows.csv"
    export_frame(frame.head(3), path)
    export_frame(frame.head(5), str(path))
    assert len(pd.read_csv(path)) == 5
    assert [one.name for one in path.parent.iterdir()] == ["rows.csv"]


def test_an_older_export_is_never_half_overwritten_but_renamed_away(frame, tmp_path):
    path, reader = tmp_path / "rows.csv", tmp_path / "opened-by-a-reader"
    path.write_text("older")
    reader.hardlink_to(path)
    export_frame(frame, path)
    assert reader.read_text() == "older"
    assert len(pd.read_csv(path)) == len(frame)


def test_an_unknown_format_is_answered_with_the_known_ones(frame, tmp_path):
    with pytest.raises(UsageError, match="Did you mean parquet"):
        export_frame(frame, tmp_path / "rows", "parkuet")


@pytest.mark.parametrize("place", ["file/rows.csv", "folder"])
def test_a_path_that_cannot_be_written_is_one_line_and_changes_nothing(frame, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError) as told:
        export_frame(frame, tmp_path / place)
    assert "\n" not in str(told.value)
    assert place in str(told.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_the_older_export_and_no_rubbish(frame, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("older")
    with no_file_larger_than(4096), pytest.raises(WorkFailed, match="nothing that was there is lost"):
        export_frame(frame, path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]
