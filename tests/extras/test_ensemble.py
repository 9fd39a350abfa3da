"""Blends: the known optimum is found, the estimate is not flattering, and the result is a run like any other."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import fast

from src.competition import paired
from src.competition.facts import Competition
from src.extras.ensemble import blends
from src.extras.ensemble import command as ensemble
from src.run import predictions
from src.run.files import read_json
from src.run.paths import RunPaths


def make(n=600, seed=0, quality=(1.0, 1.0)):
    """Truth, and members that see it through noise: quality 0 sees nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    ids = [f"i{i:04}" for i in range(n)]
    table = pd.DataFrame({"id": ids, "fold": np.arange(n) % 5, "__label__": np.array(["a", "b", "c"])[truth]})
    members = []
    for q in quality:
        logits = q * np.eye(3)[truth] + rng.normal(0, 1, (n, 3))
        members.append(
            predictions.make(ids, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), ["a", "b", "c"])
        )
    return table, members


def accuracy(table, frame):
    return float((frame.loc[table["id"]].idxmax(axis=1).to_numpy() == table["__label__"].to_numpy()).mean())


def log_loss(table, frame):
    column = frame.columns.get_indexer(table["__label__"])
    return float(np.log(frame.loc[table["id"]].to_numpy()[np.arange(len(table)), column].clip(1e-9)).mean())


def test_greedy_finds_the_known_optimum():
    table, members = make(quality=(2.0, 0.0))
    weights = blends.select(table, members, log_loss)
    assert weights[0] > 0.85 and weights.sum() == pytest.approx(1)
    table, members = make(quality=(1.5, 1.5))
    assert 0.3 < blends.select(table, members, log_loss)[0] < 0.7


def test_the_stack_uses_a_member_that_is_always_wrong():
    table, (good, _) = make(quality=(2.0, 0.0))
    turned = good[["b", "c", "a"]].set_axis(["a", "b", "c"], axis=1)
    join = blends.stack(table, [turned, turned], log_loss)
    assert accuracy(table, join([turned, turned])) > accuracy(table, good) - 0.03 > 0.6


def test_boosting_uses_an_extra_column_where_it_decides():
    table, (weak, _) = make(quality=(0.3, 0.0))
    column = predictions.make(table["id"], (table["__label__"] == "a").to_numpy(float)[:, None], ["sex"])
    found = blends.nested(table, [weak, column], blends.boost, accuracy)
    assert accuracy(table, found) > accuracy(table, weak) + 0.15 and list(found) == ["a", "b", "c"]


@pytest.mark.parametrize("way", ["greedy", "stack", "boost"])
def test_the_nested_estimate_is_not_optimistic_on_pure_noise(way):
    gains = []
    for seed in range(6):
        table, members = make(n=300, seed=seed, quality=(0.0,) * 5)
        found = blends.nested(table, members, blends.BLENDS[way], accuracy)
        gains.append(accuracy(table, found) - 1 / 3)
    assert abs(np.mean(gains)) < 3 * np.std(gains, ddof=1) / np.sqrt(len(gains)) + 0.02
    fitted = [accuracy(*pair) for pair in [(table, blends.BLENDS[way](table, members, accuracy)(members))]]
    assert fitted[0] > 1 / 3 + 0.02, "in sample it does flatter: that is what the nested one is for"


def members_of(table, members):
    return dict.fromkeys(("mean", "greedy", "stack"), members)


COMPETITION = Competition(
    labels=("label",),
    task="multiclass",
    classes=("a", "b", "c"),
    header=("id", "label"),
    answer="label",
    metric="accuracy",
)


def chosen(n, seed, quality):
    table, members = make(n=n, seed=seed, quality=quality)
    table = table.assign(label=table["__label__"], row=table["id"], group=table["id"])
    return blends.choose(COMPETITION, table, members_of(table, members), accuracy)


def test_the_mean_is_left_only_for_a_gain_above_its_error():
    clear = chosen(300, 0, (2.0, 0.0, 0.0))  # one member that sees, and two that don't
    assert (
        clear.name in ("greedy", "stack")
        and clear.gains[clear.name].gain > clear.gains[clear.name].margin > 0
    )
    noise = [chosen(150, seed, (0.0, 0.0, 0.0)) for seed in range(3)]
    assert [choice.name for choice in noise].count("mean") >= 2, "in one of fifteen it is left by chance"
    assert any(max(choice.scores.values()) > choice.scores["mean"] for choice in noise), (
        "the best of several would have been taken"
    )


def test_the_means_score_is_reported_unless_a_fitted_blend_is_taken_and_that_is_called_optimistic(
    bench, capsys
):
    bench.run(fast("epochs=1"), "one"), bench.run(fast("epochs=1 seed=1"), "two")
    taken = ensemble.ensemble(RunPaths(bench.folder / "runs" / "taken"), ["one", "two"])
    assert (
        taken["optimistic"] is True
        and taken["oof"] == max(taken["tried"].values()) > taken["tried"]["mean"]
        and "a little too good" in capsys.readouterr().out
    )
    bench.monkeypatch.setattr(paired.Difference, "is_gain", False)  # as of noise
    result = ensemble.ensemble(RunPaths(bench.folder / "runs" / "both"), ["one", "two"])
    printed = capsys.readouterr().out
    assert (
        result["oof"] == result["tried"]["mean"]
        and result["optimistic"] is False
        and "chosen: mean, since nothing gains more than chance would" in printed
    )
    assert (
        set(result["gains"]) == {"greedy", "stack"}
        and "over the mean, each fold joined by a blend fitted on the others" in printed
    )
    asked = ensemble.ensemble(RunPaths(bench.folder / "runs" / "asked"), ["one", "two"], "stack")
    printed = capsys.readouterr().out
    assert (
        asked["optimistic"] is True
        and "a little too good" in printed
        and "chosen: stack, as asked for" in printed
    )


def test_an_ensemble_of_optimistic_members_is_optimistic(bench):
    bench.run(fast("patience=1"), "one"), bench.run(fast("seed=1"), "two")
    assert (
        ensemble.ensemble(RunPaths(bench.folder / "runs" / "both"), ["one", "two"], "mean")["optimistic"]
        is True
    )


def test_a_mean_of_ranks_is_refused_where_more_than_the_order_is_read(bench, monkeypatch):
    bench.run(fast("seed=0 epochs=1"), "one"), bench.run(fast("seed=1 epochs=1"), "two")
    with pytest.raises(
        ValueError,
        match="how=rank keeps only the order of the rows, column by column, and macro_f1 of label reads more",
    ):
        ensemble.ensemble(RunPaths(bench.folder / "runs" / "both"), ["one", "two"], "rank")
    area = replace(COMPETITION, metric="roc_auc", answer="probabilities")
    assert blends.ways_for("rank", area, same_folds=True) == ["mean", "rank"]
    with pytest.raises(ValueError, match="log_loss of probabilities reads more"):
        blends.ways_for("rank", replace(area, metric="log_loss"), same_folds=True)


def test_an_ensemble_is_a_run_like_any_other(bench, capsys):
    bench.run(fast("seed=0"), "one"), bench.run(fast("seed=1 epochs=1"), "two")
    paths = RunPaths(bench.folder / "runs" / "both")
    result = ensemble.ensemble(paths, ["one", "two"])
    bench.stage("submit", paths)
    assert (bench.folder / "submissions/both.csv").exists() and set(result["members"]) == {"one", "two"}
    assert (
        set(result["tried"]) == {"mean", "greedy", "stack"} and read_json(paths.score)["oof"] == result["oof"]
    )
    assert "correlation" in capsys.readouterr().out
    boosted = ensemble.ensemble(RunPaths(bench.folder / "runs" / "boosted"), ["one", "two"], "boost")
    assert (
        set(boosted["tried"]) == {"mean", "boost"}
        and boosted["optimistic"] is True
        and len(predictions.read(RunPaths(bench.folder / "runs" / "boosted").test)) == 9
    )


def test_differing_folds_are_refused_for_what_is_fitted_and_warned_of_for_the_mean(bench, capsys):
    bench.run(fast("epochs=1"), "one"), bench.run(fast("epochs=1 fold_seed=3"), "two")
    paths = RunPaths(bench.folder / "runs" / "both")
    with pytest.raises(ValueError, match="fold hashes"):
        ensemble.ensemble(paths, ["one", "two"], how="greedy")
    ensemble.ensemble(paths, ["one", "two"])
    assert "differing folds" in capsys.readouterr().err


def test_unfinished_members_and_wrong_names_are_named(bench):
    bench.run(fast("epochs=1"), "one")
    with pytest.raises(
        ValueError, match="two or more finished runs; not finished: nothing; finished are one"
    ):
        ensemble.ensemble(RunPaths(bench.folder / "runs" / "both"), ["one", "nothing"])
    bench.run(fast("epochs=1 seed=1"), "two")
    with pytest.raises(ValueError, match="training run"):
        ensemble.ensemble(RunPaths(bench.folder / "runs" / "one"), ["one", "two"])
    with pytest.raises(ValueError, match="unknown"):
        ensemble.ensemble(RunPaths(bench.folder / "runs" / "both"), ["one", "two"], how="magic")
