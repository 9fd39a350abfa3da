"""Comparing runs: a real difference is seen, noise is called noise, and images of one group stay together."""
import numpy as np
import pandas as pd
import pytest
from conftest import fast, make_competition

from src import compare, competitions, predictions, runs
from src.data import tables


@pytest.fixture
def competition(tmp_path):
    make_competition(tmp_path / "tiny")
    return competitions.load("tiny", tmp_path)


def frames(competition, right_a, right_b, n=300, seed=0):
    """A table of n images, and two runs that get the given shares right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    ids = [f"i{i:03}" for i in range(n)]
    table = pd.DataFrame({"id": ids, "row": ids, "colour": np.array(competition.classes)[truth], "group": ids, "fold": np.arange(n) % 5})
    found = [np.eye(3)[np.where(rng.random(n) < share, truth, (truth + 1) % 3)] for share in (right_a, right_b)]
    return table, *(predictions.make(ids, values, competition.outputs) for values in found)


def test_a_real_difference_is_seen_and_has_a_direction(competition):
    found = compare.compare(competition, *frames(competition, 0.6, 0.9))
    assert found.interval[0] > 0.1 and found.p < 0.05 and found.verdict() == "B is better" and all(d > 0 for d in found.per_class.values())
    assert compare.compare(competition, *frames(competition, 0.9, 0.6)).verdict() == "A is better"


def test_noise_is_called_noise(competition):
    verdicts = [compare.compare(competition, *frames(competition, 0.8, 0.8, seed=seed)).verdict() for seed in range(5)]
    assert sum("noise" in verdict or "folds vary" in verdict for verdict in verdicts) >= 4


def test_the_corrected_test_is_more_careful_than_the_plain_one():
    from scipy.stats import ttest_1samp

    differences = [0.01, 0.02, 0.015, 0.005, 0.02]
    assert compare.corrected_p(differences) > ttest_1samp(differences, 0).pvalue
    assert compare.corrected_p([0.0] * 5) == 1.0


def test_differing_images_are_refused(competition):
    table, a, b = frames(competition, 0.8, 0.8)
    with pytest.raises(ValueError, match="missing"):
        compare.compare(competition, table, a, b.iloc[1:])


def test_two_runs_are_compared_from_their_files(bench, capsys):
    one, two = bench.run(fast("epochs=1"), "one"), bench.run(fast("epochs=2"), "two")
    bench.monkeypatch.setattr("sys.argv", ["compare", str(one.root), str(two.root)])
    compare.main()
    printed = capsys.readouterr().out
    assert "A one" in printed and "by fold" in printed and f"{runs.read_json(two.score)['oof']:.4f}" in printed
    assert len(tables.read_folds(one.folds)) == 36
    bench.monkeypatch.setattr("sys.argv", ["compare", "runs/none", str(two.root)])
    with pytest.raises(ValueError, match="no score.json"):
        compare.main()
