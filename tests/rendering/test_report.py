"""The report: complete, escaped, and never at the cost of what was there."""

import os
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from html import escape

import pandas as pd
import pytest
from PIL import Image

from robustbench_ekdaa.analysis.checks import findings
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.rendering import write_report
from robustbench_ekdaa.rendering.report import MARKER
from robustbench_ekdaa.rendering.tables import display_frame, latex_table

from ..support.full_disk import no_file_larger_than
from ..support.made_outcomes import random_outcomes, with_constant, without
from ..support.pages import Page
from ..support.trained_run import EVIL

OBEYED = "[5mm] \x1b[31mred\x9b \u202eabc\x85\u2028"  # by LaTeX, by terminals, by whatever lays out text


@pytest.fixture(scope="module")
def results(real):
    titles = {"ekdaa": EVIL, "backprop": OBEYED}
    hurt = without(random_outcomes(cards=2, seeds=2, titles=titles), "ekdaa1", error=f"diverged {EVIL}")
    return Results([real, replace(hurt, dataset="cifar10", title="CIFAR-10 (JPEG)")])


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "deep" / "report"
    assert write_report(results, out, command=f"robustbench-ekdaa sweep {EVIL}\n{OBEYED}") == out / "index.html"
    return out


def test_every_link_of_the_page_leads_somewhere_inside_the_folder(folder):
    page = Page(folder / "index.html")
    assert len(page.links) > 20
    for link in page.links:
        assert not re.match(r"[a-z]+:|//", link), link
        assert link[1:] in page.anchors if link.startswith("#") else (folder / link).is_file(), link


def test_the_page_runs_nothing_and_every_word_of_a_card_is_escaped(folder):
    page = Page(folder / "index.html")
    assert not {"script", "iframe", "link", "object"} & set(page.tags)
    assert page.text.count(EVIL) >= 3  # as text: the title, the error, the command
    assert "<script" not in (folder / "index.html").read_text()
    assert all(page.alts)


def test_nothing_obeys_what_a_title_holds(folder):
    for name in ("index.html", "tables/summary.md", "tables/summary.tex"):
        text = (folder / name).read_text(encoding="utf-8")
        assert {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")} == {"\n"}, name
        assert "x1b" in text
    assert f"sweep {escape(EVIL)}\n[5mm]".replace("&quot;", "&#34;") in (folder / "index.html").read_text()


def test_no_row_of_a_latex_table_is_read_as_an_option_of_the_row_above():
    text = latex_table(pd.DataFrame({"model": ["plain", "[5mm]", "*", "a [b]"]}), "")
    assert re.findall(r"^.*\\\\$", text, re.MULTILINE)[1:] == [r"plain \\", r"{}[5mm] \\", r"{}* \\", r"a [b] \\"]


def test_the_page_says_what_a_reader_needs(folder):
    text = Page(folder / "index.html").text
    for part in (
        "CIFAR-10 (JPEG)",
        "How to read this",
        "ε₅₀",
        "White-box A model attacked on itself",
        "It is no attack",
        "fewer than 3 training seeds",
        "These could not be trained",
        "1 of 2 seeds failed",
        '"epsilons"',
    ):
        assert part in text, part
    assert "pairs of one start are left out" not in text  # the only seed of "linear" is one of "mlp" too


def test_the_tables_hold_the_results(folder, results):
    rows = pd.read_csv(folder / "tables" / "results.csv")
    frame = results.frame()
    assert list(rows.columns) == list(frame.columns)
    assert (rows["accuracy"] == frame["accuracy"]).all()
    summary = pd.read_csv(folder / "tables" / "summary.csv")
    assert summary["area"].tolist() == results.summary()["area"].tolist()
    lines = (folder / "tables" / "summary.md").read_text().splitlines()
    table, (empty, below) = lines[: 2 + len(summary)], lines[2 + len(summary) :]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert empty == ""
    latex = (folder / "tables" / "summary.tex").read_text()
    assert r"\textless{}script\textgreater{}" in latex
    assert r"$\varepsilon_{50}$" in latex
    for text in (below, Page(folder / "index.html").text, " ".join(latex.replace("% ", "").split())):
        assert "Area / clean: area divided by clean accuracy" in text
        assert "nothing is ranked here" in text


def test_every_figure_is_there_as_png_and_pdf(folder):
    stems = {path.stem for path in (folder / "figures").iterdir()}
    assert stems == {
        f"{name}-{kind}"
        for name in ("digits", "cifar10")
        for kind in ("curves", "who-is-fooled", "transfer", "attacks", "examples")
    }
    for stem in stems:
        assert (folder / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(folder / "figures" / f"{stem}.png") as image:
            assert round(image.info["dpi"][0]) == 150


def test_a_report_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "report"
    write_report(Results([random_outcomes(cards=2, seeds=1, attacks=("fgsm",))]), out)
    assert (out / "figures" / "made-curves.png").is_file()
    write_report(unattacked(), out, command="second")
    write_report(unattacked(), tmp_path / "fresh", command="second")
    ours, fresh = (
        {path.relative_to(one).as_posix(): path.read_bytes() for path in one.rglob("*") if path.is_file()}
        for one in (out, tmp_path / "fresh")
    )
    assert ours == fresh
    assert {path.name for path in tmp_path.iterdir()} == {"report", "fresh"}


def unattacked(**made):
    """Results that need no figures, for tests of the folder alone."""
    return Results([replace(random_outcomes(**made), cells=(), examples=())])


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    mine, report = tmp_path / "mine", tmp_path / "report"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, which no report wrote"):
        write_report(unattacked(), mine)
    write_report(unattacked(), report)
    (report / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        write_report(unattacked(), report)
    assert (report / "notes.txt").read_text() == (mine / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/report"):
        with pytest.raises(UsageError) as told:
            write_report(unattacked(), tmp_path / place)
        assert "\n" not in str(told.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", [".", "figures"])
def test_empty_folders_and_links_in_a_report_folder_are_somebodys_and_do_not_vanish(tmp_path, place):
    report, mine = tmp_path / "report", tmp_path / "mine"
    write_report(unattacked(), report)
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for make in (
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(mine),
        lambda path: path.symlink_to(mine / "notes.txt"),
        lambda path: path.symlink_to(tmp_path / "nowhere"),
    ):
        added = report / place / "added"
        make(added)
        with pytest.raises(UsageError, match=r"added, which no report wrote"):
            write_report(unattacked(), report)
        assert os.path.lexists(added)
        added.unlink() if added.is_symlink() else added.rmdir()
    shutil.rmtree(report / "figures")
    (report / "figures").symlink_to(mine)
    with pytest.raises(UsageError, match=r"figures, which no report wrote"):
        write_report(unattacked(), report)
    assert (report / "figures").is_symlink()


@pytest.mark.parametrize("marker", [b"\xff\xfe index.html", b"\0", b""])
def test_a_folder_whose_marker_is_damaged_is_not_taken_for_a_report(tmp_path, marker):
    write_report(unattacked(), tmp_path / "report")
    (tmp_path / "report" / MARKER).write_bytes(marker)
    with pytest.raises(UsageError, match="which no report wrote"):
        write_report(unattacked(), tmp_path / "report")


@pytest.mark.parametrize("place", ["run", "run/report", "link/report"])
def test_no_report_is_written_in_a_run_folder(tmp_path, place):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.sqlite").write_text("everything")
    (tmp_path / "link").symlink_to("run")
    with pytest.raises(UsageError, match="run folder"):
        write_report(unattacked(), tmp_path / place)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.sqlite"]


def test_a_full_disk_leaves_the_older_report_and_no_rubbish(tmp_path):
    out = tmp_path / "report"
    write_report(unattacked(), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with no_file_larger_than(8_000), pytest.raises(WorkFailed):
        write_report(unattacked(cards=5), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_with_enough_seeds_pairs_of_one_start_are_said_to_be_left_out(tmp_path):
    assert (
        "pairs of one start are left out"
        in Page(
            write_report(
                Results([random_outcomes(cards=2, seeds=2, attacks=("fgsm",), examples=())]), tmp_path / "report"
            )
        ).text
    )


def test_an_empty_folder_is_filled_and_the_marker_lists_what_is_in_it(tmp_path):
    write_report(unattacked(), tmp_path)
    listed = set((tmp_path / MARKER).read_text().splitlines())
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == listed | {MARKER}


def test_a_run_in_which_everything_failed_has_a_page_that_says_so(tmp_path):
    outcomes = random_outcomes(cards=2, seeds=1)
    for key in list(outcomes.models):
        outcomes = without(outcomes, key, error=f"{key} diverged in epoch 3")
    text = Page(write_report(Results([replace(outcomes, examples=())]), tmp_path / "report")).text
    assert "backprop0 diverged in epoch 3" in text
    assert "ekdaa0 diverged in epoch 3" in text


def test_strange_data_set_names_stay_inside_the_folder(tmp_path):
    outcomes = replace(random_outcomes(cards=2, seeds=1, attacks=("fgsm",)), dataset="../../up & away", examples=())
    page = write_report(Results([outcomes]), tmp_path / "report")
    assert all((page.parent / link).is_file() for link in Page(page).links if not link.startswith("#"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_progress_counts_the_figures(tmp_path):
    class Counting:
        def __init__(self):
            self.total = self.done = 0

        def task(self, label, total):
            self.total += total
            return self

        def advance(self, amount=1, note=None):
            self.done += amount

        def line(self, text):
            raise AssertionError(text)

    progress = Counting()
    few = replace(random_outcomes(cards=2, seeds=1, attacks=("fgsm",)), examples=())
    write_report(Results([few]), tmp_path / "report", progress=progress)
    assert progress.done == progress.total == 3


def test_a_card_that_learned_nothing_is_said_to_be_in_no_ranking_and_shows_nothing_that_would_lead(real, tmp_path):
    stuck = with_constant(real)
    found = " ".join(one.sentence for one in findings(stuck) if one.status != "pass")
    assert "Not ranked, and in no common set: Stuck (not shown to beat chance" in found
    assert "differ by" not in found  # only cards that are compared
    text = Page(write_report(Results([replace(stuck, examples=())]), tmp_path / "report")).text
    assert "Stuck (not shown to beat chance" in text
    shown = display_frame(Results([stuck]).summary(), {}).set_index("model")
    assert shown.loc["Stuck", "area / clean"] == "–"
    assert shown.loc["MLP", "area / clean"] != "–"


def test_no_page_without_foreign_surrogates_claims_that_a_rule_is_harder_to_fool(folder):
    text = Page(folder / "index.html").text
    assert "Which learning rule is harder to fool?" not in text
    assert "does not say which learning rule is harder to fool" in text
    assert re.findall(r"accuracy under attack\): ([^.]*)\.", text) == ["no foreign surrogates"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_the_page_without_scrolling_sideways(folder, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    # The page's own width, written by the browser's layout into the title by a script of this test only.
    probe = tmp_path / "probe.html"
    script = "<script>onload=()=>document.body.dataset.wide=document.documentElement.scrollWidth</script>"
    probe.write_text((folder / "index.html").read_text().replace("</head>", f"{script}</head>"))
    shutil.copytree(folder / "figures", tmp_path / "figures")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]
    shown = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=120, check=False).stdout
    (wide,) = re.findall(r'data-wide="(\d+)"', shown)
    assert int(wide) <= width


def test_the_page_shows_what_checks_found_what_failed_first_and_names_what_passed(tmp_path):
    few = random_outcomes(images=20, noise=False)
    page = Page(write_report(Results([few]), tmp_path / "report"))
    text = page.text
    assert "No verdict may rest on the numbers that they are about." in text
    assert text.index("test images (fail)") < text.index("training seeds (warn)") < text.index("Passed: ")
    assert "20 images" in text
    assert "Take 100 or more." in text
