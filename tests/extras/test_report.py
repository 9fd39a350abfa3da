"""The report and the board: complete for each task, one file that loads nothing, and text stays text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import COLOURS, fast, make_competition, open_run

from src import competitions
from src.competition.facts import Competition
from src.extras import pictures, runs
from src.extras.board import command as board
from src.extras.ensemble import command as ensemble
from src.extras.report import command as report
from src.extras.report.classes import best_temperature, reliability
from src.extras.report.labels import best_threshold, nested_f1
from src.extras.report.values import kappa_cells
from src.extras.report.words import Curves, diagnose
from src.extras.results import changes, finished, leaderboard, neighbour, pareto_front
from src.run.paths import RunPaths

SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "link", "input", "img", "br", "hr", "circle", "path"}


class WellFormed(HTMLParser):
    """Fails where an end tag does not close what was opened last; collects ids, texts and addresses."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.ids += [facts["id"]] if "id" in facts else []
        self.addresses += [facts[name] for name in ("src", "href", "action", "data") if name in facts]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        if tag not in VOID:
            raise AssertionError(f"<{tag}/> is no void tag")

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def checked(path: Path) -> WellFormed:
    """The page, if it is one whole file of less than 5 MB that loads nothing."""
    html = path.read_text(encoding="utf-8")
    page = WellFormed(html)
    assert path.stat().st_size < 5e6
    assert "default-src 'none'" in html
    loads = [
        one
        for one in page.addresses
        if not one.startswith(("#", "data:", "../")) and "report.html" not in one
    ]
    assert not loads, loads
    assert not re.findall(r"url\((?!data:|\$)[^)]*\)|@import", html)
    assert len(set(page.ids)) == len(page.ids)
    return page


def relabel(root: Path, make_label, sample_value, columns=("id", "label")) -> None:
    """The same pictures with other labels; make_label(i) for the i-th picture."""
    train, sample = pd.read_csv(root / "train.csv"), pd.read_csv(root / "sample_submission.csv")
    rows = [make_label(i) for i in range(len(train))]
    values = {name: [row[k] for row in rows] for k, name in enumerate(columns[1:])}
    pd.DataFrame({"id": train["id"], **values}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": sample["id"], **dict.fromkeys(columns[1:], sample_value)}).to_csv(
        root / "sample_submission.csv", index=False
    )


TASKS = {
    "multiclass": (None, None, {}, ["Confusion matrix", "average precision", "Calibration", "temperature"]),
    "regression": (
        lambda i: [10.5 + i % 3 + i / 100],
        1.5,
        {},
        ["Residuals", "predicted against true", "MAE"],
    ),
    "multilabel": (
        lambda i: [["blue", "green", "red", "blue red", "green red", "blue green"][i % 6]],
        "blue",
        {},
        ["best threshold", "F1 at 0.5"],
    ),
    "ordinal": (
        lambda i: [i % 3],
        0,
        {"task": "ordinal"},
        ["costs kappa", "MAE in grades", "decode=cut_points"],
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_report_of_each_task_is_complete(bench, monkeypatch, task):
    make_label, sample_value, facts, expected = TASKS[task]
    if make_label:
        relabel(bench.inputs, make_label, sample_value)
    if facts:
        monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(**facts))
    paths = bench.run(fast("epochs=2 tta=hflip" if task == "multiclass" else "epochs=1"))
    page = checked(report.report(open_run(paths)))
    sections = [*"score curves mistakes classes slices test map spent reproduce".split()]
    assert [one for one in page.ids if one in sections] == sections
    assert ("views" in page.ids) == (task == "multiclass")
    html = (paths.root / "report.html").read_text(encoding="utf-8")
    for words in (
        *expected,
        "an answer that looks at no image",
        "make submit COMP=tiny",
        "There is no other",
    ):
        assert words in html, words
    assert '"heat"' in html, "the tail has a map of the image"


def test_hostile_names_stay_text(bench, monkeypatch):
    """A class is a script, an id has quotes and slashes, a path has an ampersand."""
    names = [SCRIPT, '"onerror="x', "</script><b>'&amp;"]
    train, root = pd.read_csv(bench.inputs / "train.csv"), bench.inputs
    train["colour"] = train["colour"].map(dict(zip(COLOURS, names)))
    train["file"] = [f"train/{name}.png" for name in train["id"]]
    train["id"] = [f"a\"b'/../<i>{name}" for name in train["id"]]
    (root / "train" / "tr000.png").rename(root / "train" / "t&<i>.png")
    train.loc[0, "file"] = "train/t&<i>.png"
    train.to_csv(root / "train.csv", index=False)
    sample = pd.read_csv(root / "sample_submission.csv").assign(colour=names[0])
    sample.to_csv(root / "sample_submission.csv", index=False)
    facts = {"train_images": "{file}", "test_images": "test/{id}.png"}
    monkeypatch.setitem(competitions.COMPETITIONS, "tiny", lambda: Competition(**facts))
    paths = bench.run(fast("epochs=1"))
    before = {file: file.read_bytes() for file in sorted(paths.root.rglob("*")) if file.is_file()}
    page = checked(report.report(open_run(paths)))
    assert before == {file: file.read_bytes() for file in before}, "a report changes nothing of a run"
    html = (paths.root / "report.html").read_text(encoding="utf-8")
    assert SCRIPT not in html and "<i>" not in html and "<b>'" not in html
    assert SCRIPT in page.text and names[2] in page.text
    assert page.scripts == 4, "two of data, two of the kit"


def test_a_second_run_is_compared_with_the_one_it_differs_least_from(bench, capsys):
    bench.run(fast("epochs=1"), "first")
    other = bench.run(fast("epochs=1 lr=0.5 weight_decay=0.1 seed=3"), "other")
    second = bench.run(fast("epochs=2"), "second")
    results = {one.name: one for one in finished(Path("runs"))}
    assert neighbour(results["second"], [*results.values()]).name == "first"
    assert [str(one) for one in changes(results["second"], results["first"])] == ["epochs=2, there 1"]
    html = report.report(open_run(second)).read_text(encoding="utf-8")
    assert "it differs least from first, in epochs=2, there 1" in html and "gain" in html
    two = RunPaths(Path("runs/two"))
    ensemble.ensemble(two, ["first", "second"], "mean")
    page = checked(report.report(open_run(two)))
    assert "members" in page.ids and "../second/report.html" in page.addresses
    assert 'make ensemble RUNS="first second" NAME=two' in page.text and "no curves of its own" in page.text
    capsys.readouterr()

    Path("submissions/ledger.csv").write_text(
        "submission,public,private\nfirst.csv,0.5,\nsecond.csv,0.61,0.6\nother.csv,nonsense,\n"
    )
    page = checked(board.board())
    assert all(words in page.text for words in ("first", "second", "epochs=2", "0.6100", "tiny"))
    assert "second/report.html" in page.addresses and "other/report.html" not in page.addresses
    bench.monkeypatch.setenv("COLUMNS", "160")
    runs.main(["tiny"])
    printed = capsys.readouterr().out
    assert printed.count("\n") >= 4 and "from first: epochs=2" in printed and "0.6100" in printed
    with pytest.raises(ValueError, match="no finished run of clothing"):
        runs.main(["clothing"])
    (other.root / "score.json").write_text("{")
    assert len(finished(Path("runs"))) == 3 and "other is left out" in capsys.readouterr().err


def test_a_report_that_nobody_asked_for_must_be_quick(bench, monkeypatch, capsys):
    paths = bench.run(fast("epochs=1 folds=2"))
    options = report.argparse.Namespace(if_quick=True)
    monkeypatch.setattr(report, "elapsed", lambda paths: 30.0)
    report.command(open_run(paths), options)
    assert "more than a tenth of the run's 30 s: make report RUN=tiny-run" in capsys.readouterr().out
    assert not (paths.root / "report.html").exists()
    monkeypatch.setattr(report, "elapsed", lambda paths: 1e6)
    report.command(open_run(paths), options)
    assert (paths.root / "report.html").exists()


def test_only_a_finished_run_has_a_report(bench):
    with pytest.raises(ValueError, match="no score.json yet: make train RUN=tiny-run"):
        report.report(open_run(bench.configure()))
    with pytest.raises(ValueError, match="no finished run yet"):
        board.board()
    with pytest.raises(ValueError, match="is not there: make submit COMP=clothing"):
        pictures.pictures()


# -- what is computed


def curves(score, loss=None, valid=None, spread=0.01):
    number = len(score)
    loss = np.linspace(1, 0.1, number) if loss is None else np.array(loss)
    valid = np.linspace(1, 0.3, number) if valid is None else np.array(valid)
    return Curves(loss, valid, np.array(score), spread, float(loss.max()))


def test_curves_are_diagnosed():
    fine = [0.5, 0.7, 0.8, 0.82, 0.825, 0.826, 0.826, 0.826]
    assert diagnose(curves(fine))[0].startswith("No sign")
    assert diagnose(curves(np.linspace(0.1, 0.9, 8)))[0].startswith("Cut short")
    worse = [1, 0.5, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8]
    assert diagnose(curves([*fine[:4], 0.81, 0.8, 0.78, 0.76], valid=worse))[0].startswith("Overfitting")
    assert "the score holds" in diagnose(curves(fine, valid=worse))[0]
    flat = np.linspace(1, 0.9, 8)
    assert diagnose(curves(fine, loss=flat, valid=flat))[0].startswith("Underfitting")
    assert "rate is too high" in diagnose(curves(fine, loss=[1, 2, 1.5, 1, 0.9, 0.8, 0.7, 0.6]))[0]
    assert "Unstable" in " ".join(diagnose(curves([0.5, 0.7, 0.8, 0.6, 0.85, 0.6, 0.85, 0.84])))


def test_the_temperature_mends_answers_that_are_too_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    label = np.array([rng.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    assert best_temperature(sharp, label) == pytest.approx(3, rel=0.1)
    assert reliability(sharp.max(axis=1), sharp.argmax(axis=1) == label)[2] > 0.15


def test_a_threshold_is_scored_on_folds_that_it_was_not_fitted_on():
    rng = np.random.default_rng(0)
    truth = rng.random(600) < 0.1
    probability = 0.3 * truth + 0.2 * rng.random(600)  # true ones lie above 0.3, below the usual half
    assert 0.2 <= best_threshold(truth, probability) <= 0.3
    assert nested_f1(truth, probability, np.arange(600) % 5) == pytest.approx(1.0)
    noise = rng.random(600)
    assert nested_f1(truth, noise, np.arange(600) % 5) < 0.35


def test_the_cells_of_the_kappa_add_up():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 300)
    answer = np.clip(truth + rng.integers(-1, 2, 300), 0, 3)
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (truth, answer), 1)
    cost, kappa = kappa_cells(counts)
    assert kappa == pytest.approx(cohen_kappa_score(truth, answer, weights="quadratic"))
    assert cost.sum() == pytest.approx(1 - kappa) and (np.diag(cost) == 0).all()


def test_the_pareto_front_holds_what_nothing_cheaper_beats():
    assert pareto_front([1, 2, 3, 4, 2], [0.5, 0.7, 0.6, 0.8, 0.65]) == [0, 1, 3]


def test_the_ledger_is_read_line_by_line(tmp_path):
    assert leaderboard(tmp_path / "ledger.csv") == {}
    (tmp_path / "ledger.csv").write_text("submission,public,private\na.csv,0.5,\na.csv,0.6,\nb.csv,,0.7\n")
    assert leaderboard(tmp_path / "ledger.csv") == {"a": {"public": 0.6}, "b": {"private": 0.7}}


@pytest.mark.slow
def test_a_larger_competition_stays_below_the_limit(bench):
    """420 pictures of noise, which compress badly, still fit."""
    make_competition(bench.inputs, num_train=500)
    rng = np.random.default_rng(0)
    from PIL import Image

    for file in (bench.inputs / "train").glob("*.png"):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    paths = bench.run(
        fast("epochs=1 folds=2 image_size=64"), machine="wandb=off workers=0 device=cpu sanity=false"
    )
    checked(report.report(open_run(paths)))
