"""make ledger: noise, luck and two final picks, from submissions/ledger.csv and the csvs beside it."""

import math
from pathlib import Path

import numpy as np
import pytest

from src.extras.ledger import noise, picks
from src.extras.ledger.command import main
from src.extras.ledger.entries import Entry, entries_of
from src.extras.ledger.figures import expected_maximum, rank_correlation
from src.extras.ledger.plot import scatter
from src.extras.ledger.predictions import answers, difference
from src.run.files import file_sha, write_json
from src.run.ledger import add_to_ledger, read_ledger, update_ledger

LEDGER = Path("submissions/ledger.csv")
FOLDS = (0.90, 0.92, 0.88, 0.91, 0.89)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("submissions").mkdir()
    answers.cache_clear()


def submit(name: str, gain: float = 0.0, cells: str = "abca", public: str = "", **more) -> str:
    """A csv, its note and its line in the ledger: the folds are FOLDS plus the gain and some noise."""
    csv = Path("submissions") / f"{name}.csv"
    csv.write_text("id,label\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells)))
    wobble = 0.004 * np.array([1, -1, 1, -1, 0]) if gain else 0.0
    folds = np.array(FOLDS) + gain + wobble
    note = {
        "submission": csv.name,
        "run": name,
        "comp": "x",
        "metric": "macro_f1",
        "lower_is_better": False,
        "when": "2026-11-29T10:00:00",
        "oof": folds.mean(),
        "mean": folds.mean(),
        "spread": folds.std(ddof=1),
        "folds": {str(k): score for k, score in enumerate(folds)},
        "fold_hash": "f" * 16,
        "oof_rows": 3000,
        "test_rows": 1000,
        "sha256": file_sha(csv),
    } | more
    write_json(note, csv.with_suffix(".json"))
    add_to_ledger(LEDGER, note)
    if public:
        update_ledger(LEDGER, note["sha256"], {"public": public, "ref": "1", "pushed": "2026-11-30T10:00:00"})
    return note["sha256"]


def entry(name: str, oof: float, public: float = math.nan, **more) -> Entry:
    folds = tuple(oof + wobble for wobble in more.pop("wobbles", (-0.01, 0.01, -0.02, 0.02, 0.0)))
    facts = {"private": math.nan, "oof_rows": 3000, "test_rows": 1000, "is_sent": True, "is_late": False}
    return Entry(name, name, oof, folds, "same", public, **(facts | more))


# ---- noise ----


def test_a_gain_is_noise_if_the_folds_do_not_agree_on_it():
    first = entry("first", 0.90)
    steady = entry("steady", 0.91)
    wobbly = entry("wobbly", 0.91, wobbles=(0.02, -0.02, 0.01, -0.03, 0.02))
    assert noise.margin(first, steady) == pytest.approx(0, abs=1e-9), "every fold gains the same"
    assert noise.margin(first, wobbly) > 0.01
    others = steady._replace(fold_hash="other")
    assert noise.margin(first, others) > 0.01, "of other folds: not paired"
    assert math.isnan(noise.margin(first, steady._replace(folds=(0.9,))))


def test_a_fold_without_a_score_is_left_out_of_the_noise():
    first, second = entry("a", 0.90), entry("b", 0.91, wobbles=(0.02, -0.02, 0.01, math.nan, 0.02))
    assert math.isfinite(noise.margin(first, second))


# ---- two picks ----


def test_the_second_pick_is_within_the_noise_of_the_best_and_differs_from_it():
    best = entry("best", 0.910)
    copy = entry("copy", 0.9095, wobbles=(-0.01, 0.01, -0.02, 0.02, 0.001))
    other = entry("other", 0.907, wobbles=(0.02, -0.02, 0.01, -0.03, 0.02))
    bad = entry("bad", 0.850, wobbles=(0.02, -0.02, 0.01, -0.03, 0.02))
    differs = {"copy": 0.001, "other": 0.08, "bad": 0.2}
    first, ranked = picks.choose([copy, bad, best, other], lambda a, b: differs[b.name], 0.3)
    assert first is best and [one.entry.name for one in ranked] == ["other", "copy", "bad"]
    assert 0.2 < ranked[0].chance < 0.5 and ranked[0].win > 0 and ranked[-1].chance < 0.05


def test_public_scores_count_by_how_many_images_they_are_of():
    best = entry("best", 0.910, public=0.90)
    lucky = entry("lucky", 0.905, public=0.93, wobbles=(0.02, -0.02, 0.01, -0.03, 0.02))
    plain = entry("plain", 0.906, public=0.89, wobbles=(0.02, -0.02, 0.01, -0.03, 0.02))

    def gains(share: float) -> dict[str, float]:
        _, ranked = picks.choose([best, lucky, plain], lambda a, b: 0.05, share)
        return {one.entry.name: one.gain for one in ranked}

    assert -0.005 < gains(0.01)["lucky"] < gains(0.3)["lucky"] < gains(1.0)["lucky"] < 0.03
    assert gains(0.3)["lucky"] > 0 > gains(0.3)["plain"]


def test_where_the_test_set_differs_the_public_score_counts_more():
    rng = np.random.default_rng(0)
    oof = 0.9 + 0.002 * np.arange(8)
    wobbles = rng.normal(0, 0.01, (8, 5))

    def weight(scatter: float) -> float:
        public = oof + scatter * np.array([1, -1, 1, -1, 1, -1, 1, -1])
        entries = [entry(str(i), oof[i], public[i], wobbles=wobbles[i]) for i in range(8)]
        best, *others = entries[::-1]
        of_fold = noise.variances(best, others, lambda a, b: 0.05)
        _, left = picks.weighted_gains(best, others, of_fold, 0.3)
        shift = picks.shift(entries, of_fold.mean() / 2, noise.overlap(5) + picks.public_variance(best, 0.3))
        return 1 - left[0] / (noise.overlap(5) + shift)

    assert weight(0.1) > weight(0.0)


def test_without_csvs_fold_scores_or_a_second_submission_it_still_names_what_it_can():
    best, other = entry("best", 0.91), entry("other", 0.90, wobbles=(0.02, -0.02, 0.01, -0.03, 0.02))
    _, ranked = picks.choose([best, other], lambda a, b: math.nan, 0.3)
    assert ranked[0].entry is other and math.isfinite(ranked[0].chance)
    old = [one._replace(folds=(), oof_rows=math.nan) for one in (best, other, entry("third", 0.89))]
    first, ranked = picks.choose(old, lambda a, b: math.nan, 0.3)
    assert first.name == "best" and [one.entry.name for one in ranked] == ["other", "third"]
    assert picks.choose([best], lambda a, b: 0.1, 0.3) == (best, [])


# ---- figures ----


def test_the_rank_correlation_has_an_interval_and_asks_for_five():
    rho, low, high = rank_correlation(np.arange(8), np.array([0, 1, 3, 2, 4, 5, 7, 6]))
    assert rho == pytest.approx(0.952, abs=0.001) and 0.6 < low < rho < high < 1
    assert all(map(math.isnan, rank_correlation(np.arange(4), np.arange(4))))


def test_the_expected_maximum_of_normal_values_is_right():
    draws = np.random.default_rng(0).normal(size=(20000, 10)).max(axis=1)
    assert expected_maximum(10) == pytest.approx(draws.mean(), abs=0.02) and expected_maximum(1) == 0


def test_the_plot_has_the_best_at_the_top_and_at_the_right_also_where_lower_is_better():
    lower = [
        entry("a", -0.5, -0.6, sign=-1),
        entry("b", -0.3, -0.4, sign=-1),
        entry("c", -0.4, -0.5, sign=-1),
    ]
    lines = scatter(lower, "abc").splitlines()
    assert lines[1].startswith("  0.4000 |") and lines[1].endswith("b") and "0.6000 |a" in lines[-3]
    assert lines[-1].split() == ["0.5000", "0.3000"]


# ---- how answers differ ----


def test_labels_differ_by_cells_and_numbers_by_correlation():
    csv = {
        "a": "id,label\n1,cat\n2,dog\n3,cat\n4,cat\n",
        "b": "id,label\n1,cat\n2,dog\n3,dog\n4,cat\n",
        "p": "id,cat,dog\n1,0.9,0.1\n2,0.2,0.8\n3,0.6,0.4\n4,0.7,0.3\n",
        "q": "id,cat,dog\n1,0.45,0.05\n2,0.1,0.4\n3,0.3,0.2\n4,0.35,0.15\n",
        "r": "id,cat,dog\n1,0.1,0.9\n2,0.8,0.2\n3,0.4,0.6\n4,0.3,0.7\n",
    }
    shas = {}
    for name, text in csv.items():
        Path(f"submissions/{name}.csv").write_text(text)
        shas[name] = file_sha(Path(f"submissions/{name}.csv"))
    entries = {name: entry(name, 0.9)._replace(sha256=shas[name]) for name in csv}
    assert difference(entries["a"], entries["b"]) == 0.25
    assert difference(entries["p"], entries["q"]) == pytest.approx(0, abs=1e-9), (
        "half as sure, the same order"
    )
    assert difference(entries["p"], entries["r"]) == pytest.approx(2)
    assert math.isnan(difference(entries["a"], entries["p"]))
    gone = entries["b"]._replace(sha256="0" * 16)
    assert math.isnan(difference(entries["a"], gone)), "another csv has that name now"


# ---- the command ----


def test_the_report_marks_noise_late_and_unsent_ones_and_picks_two_in_words(capsys):
    submit("x-head", -0.05, "aaaa", public="0.85")
    submit("x-baseline", 0.0, "abab", public="0.90")
    submit("x-seed", 0.001, "abaa", public="0.89")
    late = submit("x-late", 0.02, "bbbb", public="0.95")
    update_ledger(LEDGER, late, {"note": "after the end; big"})
    submit("x-one.fold0", 0.03, "cccc", partial="fold 0 only", oof=math.nan)
    main(["--public", "0.3"])
    said = capsys.readouterr().out
    lines = {
        line.split()[1]: line for line in said.splitlines() if line[2:3] in "abcd" and len(line.split()) > 2
    }
    assert said.startswith("x: 4 submissions, macro_f1, higher is better")
    assert "noise" in lines["x-seed"] and "noise" not in lines["x-baseline"]
    assert lines["x-late"].endswith("after the end; big")
    assert "1. x-seed: the best OOF, 0.9010" in said and "2. x-baseline\n" in said
    assert "the better of the two with a chance of" in said and "would be luck" in said
    assert "4 public scores: a rank correlation takes 5" in said and "PUBLIC=" not in said


def test_a_ledger_of_an_earlier_version_is_read_by_oof_alone(capsys):
    LEDGER.write_text(
        "when,submission,metric,oof,spread,folds,commit,sha256,public,private\n"
        '2026-01-01T00:00:00,a.csv,log_loss,0.5,0.01,5,abc,0123456789abcdef,"0,55",\n'
        "2026-01-02T00:00:00,b.csv,log_loss,0.4,0.01,5,abc,1123456789abcdef,0.45,\n"
    )
    main([])
    said = capsys.readouterr().out
    assert said.startswith("unknown competition: 2 submissions, log_loss, lower is better")
    assert "1. b: the best OOF, 0.4000" in said and "2. a\n" in said and "-0.1000" not in said
    assert "the noise of the public score is unknown" in said


def test_an_unsent_pick_and_a_share_that_is_assumed_are_said(capsys):
    submit("x-a", 0.0, "abab", public="0.90")
    submit("x-b", 0.02, "abaa", public="")
    submit("x-c", 0.001, "abba", public="0.91")
    main(["--comp", "x"])
    said = capsys.readouterr().out
    assert "1. x-b (not sent: make push RUN=x-b): the best OOF" in said
    assert "taken to be of 30% of the test rows" in said and "not sent" in said


def test_each_competition_has_its_own_report_and_another_is_refused(capsys):
    with pytest.raises(ValueError, match="ledger.csv is not here yet: make submit writes its first line"):
        main([])
    submit("x-a")
    submit("y-a", comp="y", cells="b")
    main([])
    said = capsys.readouterr().out
    assert (
        "x: 1 submission," in said and "y: 1 submission," in said and "there is no other submission" in said
    )
    with pytest.raises(ValueError, match="has nothing of COMP=z; it has x, y"):
        main(["--comp", "z"])


def test_an_equal_csv_of_two_runs_is_one_entry():
    submit("x-a", 0.0, "abab")
    submit("x-copy", 0.0, "abab")
    assert [one.name for one in entries_of(read_ledger(LEDGER))] == ["x-a"]
