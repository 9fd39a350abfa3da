"""Comparing runs: a real difference is seen, noise is called noise, and images of one row or group stay
together.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import fast, make_competition

from src import competitions
from src.competition import paired, scoring, tables
from src.competition.facts import Competition
from src.extras import compare, comparison
from src.run import predictions
from src.run.files import read_json

CANCER = Competition(
    labels=("cancer",),
    task="binary",
    classes=("0", "1"),
    header=("id", "cancer"),
    answer="probability",
    metric="roc_auc",
)


@pytest.fixture
def competition(tmp_path):
    make_competition(tmp_path / "tiny")
    return competitions.load("tiny", tmp_path)


def frames(competition, right_a, right_b, n=300, seed=0, per_row=1):
    """A table of n images, and two runs that get the given shares of rows right."""
    rng = np.random.default_rng(seed)
    truth, luck_a, luck_b = rng.integers(0, 3, n), rng.random(n), rng.random(n)
    row = np.arange(n) // per_row
    truth, luck_a, luck_b = truth[row], luck_a[row], luck_b[row]
    ids, rows = [f"i{i:03}" for i in range(n)], [f"r{i:03}" for i in row]
    table = pd.DataFrame(
        {
            "id": ids,
            "row": rows,
            "colour": np.array(competition.classes)[truth],
            "group": rows,
            "fold": row % 5,
        }
    )
    values = [
        np.eye(3)[np.where(luck < share, truth, (truth + 1) % 3)]
        for luck, share in ((luck_a, right_a), (luck_b, right_b))
    ]
    return table, *([predictions.make(ids, value, competition.outputs)] for value in values)


def scans(positives: int, per_group: int = 1):
    """A table of 60 images of which the first few are positive, and two runs: A orders them badly, B
    perfectly.
    """
    ids = [f"i{i:02}" for i in range(60)]
    truth = np.arange(60) < positives
    table = pd.DataFrame(
        {
            "id": ids,
            "row": ids,
            "cancer": truth.astype(int).astype(str),
            "group": [f"g{i // per_group}" for i in range(60)],
            "fold": np.arange(60) // per_group % 5,
        }
    )
    worst, best = np.where(truth, 0.4 + np.arange(60) / 100, np.linspace(0, 1, 60)), np.where(truth, 0.9, 0.1)
    return table, *(
        [predictions.make(ids, np.stack([1 - value, value], axis=1), ("0", "1"))] for value in (worst, best)
    )


def test_a_real_difference_is_seen_and_has_a_direction(competition):
    result = comparison.compare(competition, *frames(competition, 0.6, 0.9))
    assert (
        result.interval[0] > 0.1
        and result.p < 0.01
        and result.verdict() == "B is better"
        and all(gain > 0 for gain in result.per_class.values())
    )
    assert comparison.compare(competition, *frames(competition, 0.9, 0.6)).verdict() == "A is better"


def test_noise_is_called_noise(competition):
    verdicts = [
        comparison.compare(competition, *frames(competition, 0.8, 0.8, n=150, seed=seed)).verdict()
        for seed in range(5)
    ]
    assert sum(verdict.startswith("no difference") for verdict in verdicts) >= 4


def test_the_interval_over_rows_of_several_images_holds_its_own_difference(competition):
    """A is often wrong on an image and seldom on a row, B is equally sure on all of a row: apart, its images
    would be far better than A's.
    """
    for seed in range(3):
        table, _, b = frames(competition, 0.75, 0.85, n=800, seed=seed, per_row=8)
        truth = scoring.truth(competition, table).loc[table["row"]].to_numpy()
        luck = np.random.default_rng(seed).random(len(table)) < 0.65
        a = predictions.make(
            table["id"], np.where(luck[:, None], truth, np.roll(truth, 1, axis=1)), competition.outputs
        )
        result = comparison.compare(competition, table, [a], b)
        assert result.interval[0] < result.gain < result.interval[1] and result.gain == pytest.approx(
            result.b - result.a
        )


def test_a_row_counts_once_however_many_images_it_has(competition):
    one = comparison.compare(competition, *frames(competition, 0.7, 0.8, n=100))
    eight = comparison.compare(competition, *copies(*frames(competition, 0.7, 0.8, n=100), times=4))
    assert one.interval == pytest.approx(eight.interval) and one.num_rows == eight.num_rows == 100


def copies(table, a, b, times):
    """The same rows with several images each, all alike."""

    def of(frame):
        return pd.concat(
            [frame.set_axis([f"{i}-{n}" for i in frame.index]) for n in range(times)]
        ).rename_axis("id")

    return (
        pd.concat([table.assign(id=[f"{i}-{n}" for i in table["id"]]) for n in range(times)]),
        [of(a[0])],
        [of(b[0])],
    )


def test_rare_positives_never_make_the_loser_the_better_one():
    for positives in (2, 3, 6):
        result = comparison.compare(CANCER, *scans(positives))
        assert (
            result.b == 1
            and result.a < 0.7
            and "A is" not in result.verdict()
            and np.isfinite(result.interval).all()
        )


def test_where_the_metric_has_no_value_without_a_group_there_is_no_verdict():
    result = comparison.compare(CANCER, *scans(2, per_group=2))  # both positives are of one patient
    assert np.isnan(result.p) and result.verdict().startswith(
        "no verdict: the metric has no value without some of these images"
    )
    assert "p = " not in comparison.summary_lines(result, ("one", "two"), "roc_auc")


def test_a_fold_without_positives_does_not_silence_the_others():
    table, a, b = scans(12)
    # folds 3 and 4 have none
    table["fold"] = np.where(np.arange(60) < 12, np.arange(60) % 3, np.arange(60) % 5)
    result = comparison.compare(CANCER, table, a, b)
    assert np.isnan(result.per_fold).sum() == 2 and result.verdict() == "B is better"


def test_whole_groups_are_left_out_so_that_few_large_ones_are_not_taken_for_many_images(competition):
    table, a, b = frames(competition, 0.7, 0.8)
    alone = paired.difference(
        competition, table, [a[0].set_axis(table["row"])], [b[0].set_axis(table["row"])]
    )
    grouped = table.assign(group=[f"g{i // 30}" for i in range(300)])
    together = paired.difference(
        competition, grouped, [a[0].set_axis(table["row"])], [b[0].set_axis(table["row"])]
    )
    assert (
        alone.num_parts == 50
        and together.num_parts == 10
        and set(paired.parts(grouped)[:30]) == {paired.parts(grouped)[0]}
    )


def test_images_of_one_row_are_left_out_together_even_where_their_groups_differ(competition):
    table, _, _ = frames(competition, 0.7, 0.8, n=120, per_row=2)
    part = pd.Series(paired.parts(table.assign(group=table["id"])))
    assert (part.groupby(table["row"]).nunique() == 1).all()


def test_the_noise_of_folds_counts_only_where_it_exceeds_that_of_their_images():
    over_images = paired.Difference(gain=0.02, error=0.01, num_parts=50)
    sizes = np.full(5, 100)
    calm = comparison.noise_of(over_images, np.array([[0.01], [0.03], [0.02], [0.0], [0.04]]), sizes)
    wild = comparison.noise_of(over_images, np.array([[0.11], [-0.07], [0.02], [0.1], [-0.06]]), sizes)
    assert calm.variance == pytest.approx(1e-4) and calm.training == 0
    excess = np.var([0.11, -0.07, 0.02, 0.1, -0.06], ddof=1) - 5 * 1e-4
    assert wild.training == pytest.approx(excess * (1 / 5 + 1 / 4)) and wild.freedom < calm.freedom


def test_several_seeds_tell_what_one_can_not(competition):
    """The same images, and folds whose models differ by luck: with three seeds the luck is known, and
    smaller.
    """
    over_images = paired.Difference(gain=0.03, error=0.005, num_parts=50)
    rng = np.random.default_rng(0)
    by_seed = 0.03 + rng.normal(0, 0.05, (5, 3))
    one, three = (
        comparison.noise_of(over_images, seeds, np.full(5, 100)) for seeds in (by_seed[:, :1], by_seed)
    )
    assert three.training < one.training and three.freedom > one.freedom
    table, a, b = frames(competition, 0.7, 0.8)
    more = [frames(competition, 0.7, 0.8, seed=seed)[1:] for seed in (0, 0)]
    result = comparison.compare(competition, table, [*a, *more[0][0]], [*b, *more[1][1]])
    assert result.num_seeds == 2 and result.gain == pytest.approx(
        comparison.compare(competition, table, a, b).gain
    )
    with pytest.raises(ValueError, match="name as many seeds of each"):
        comparison.compare(competition, table, a * 2, b)


def test_what_would_show_the_difference_is_said(competition):
    result = comparison.compare(competition, *frames(competition, 0.78, 0.80, seed=1))
    assert "rows (here 300)" in result.verdict() and "more seeds would not do" in result.verdict()
    noise = comparison.Noise(comparison.Part(0.01**2, 49), comparison.Part(0.02**2, 4), comparison.Part(0, 1))
    says = result._replace(over_images=paired.Difference(0.04, 0.01, 50), noise=noise).verdict()
    assert "takes about 740 rows (here 300) or 4 seeds of each run" in says, says
    assert [comparison.rounded(number) for number in (7, 2341, 68001, 1e9)] == [
        "7",
        "2,400",
        "69,000",
        "ten million or more",
    ]


def test_equal_runs_differ_by_nothing(competition):
    table, a, _ = frames(competition, 0.8, 0.8)
    result = comparison.compare(competition, table, a, a)
    assert result.interval == (0, 0) and result.p == 1 and "There is none" in result.verdict()


def test_differing_images_are_refused(competition):
    table, a, b = frames(competition, 0.8, 0.8)
    with pytest.raises(ValueError, match="missing"):
        comparison.compare(competition, table, a, [b[0].iloc[1:]])


def test_runs_are_compared_from_their_files(bench, capsys):
    one, two = bench.run(fast("epochs=1"), "one"), bench.run(fast("epochs=2"), "two")
    compare.main([str(one.root), str(two.root)])
    printed = capsys.readouterr().out
    assert (
        "A one" in printed
        and "by fold" in printed
        and f"{read_json(two.score)['oof']:.4f}" in printed
        and "p = " in printed
    )
    assert len(tables.read_folds(one.folds)) == 36
    other = bench.run(fast("epochs=1 seed=1"), "other")
    compare.main([str(one.root), str(other.root), "--", str(two.root), str(two.root)])
    assert "A one other" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no score.json"):
        compare.main(["runs/none", str(two.root)])
    with pytest.raises(ValueError, match="as many seeds of each"):
        compare.main([str(one.root), "--", str(two.root), str(two.root)])
