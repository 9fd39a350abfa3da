"""How often does compare's interval hold the true difference, how often is an equal run called better, and how often is a better one found?

By hand, at full size: python -m tests.simulations.test_simulated_compare 500        in the tests: fewer draws, the same seeds"""
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from src import compare, paired, predictions
from tests.simulations.fast import Fast, macro_f1

CLASSES = ("a", "b", "c", "d", "e")
PRIOR = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
F1 = Fast(macro_f1)
BETTER = 0.235          # of latent quality: 5.6 points of macro F1


class Case(NamedTuple):
    """Rows of a group share a difficulty, which differs for each run too; the images of a row share half of their luck."""

    num_rows: int = 600
    per_row: int = 1
    num_groups: int = 0         # 0: each row is its own
    training: float = 0.0       # spread of a fold's quality by the luck of its training, in units of the latent quality


CASES = {
    "600 rows, 1 image each": Case(), "150 rows, 3 images each": Case(150, 3), "150 rows, 8 images each": Case(150, 8),
    "600 rows in 10 groups": Case(600, 1, 10), "600 rows in 60 groups": Case(600, 1, 60),
    "600 rows, folds differ by training": Case(training=0.15),
}


def draw(case: Case, better: float, rng: np.random.Generator, num_seeds: int = 1):
    """A table, and two runs whose latent quality is 1 and 1 + better."""
    row = np.arange(case.num_rows)
    group = row * case.num_groups // case.num_rows if case.num_groups else row
    truth, fold = rng.choice(5, case.num_rows, p=PRIOR), group % 5
    spread = 0.7 if case.num_groups else 0.0
    shared = rng.normal(0, spread, case.num_rows)[group] + rng.normal(0, 1, case.num_rows)
    of_row = np.repeat(row, case.per_row)
    ids, rows = [f"i{n:05}" for n in range(len(of_row))], [f"r{n:04}" for n in of_row]
    table = pd.DataFrame({"id": ids, "row": rows, "label": np.array(CLASSES)[truth[of_row]], "group": group[of_row].astype(str), "fold": fold[of_row]})

    def run(quality: float) -> pd.DataFrame:
        luck = rng.normal(0, spread, case.num_rows)[group] + rng.normal(0, case.training, 5)[fold] + rng.normal(0, 0.7, case.num_rows)
        margin = (quality + shared + luck)[of_row] + rng.normal(0, 0.7, len(of_row))
        other = (truth[of_row] + rng.integers(1, 5, case.num_rows)[of_row]) % 5
        values = np.zeros((len(of_row), 5))
        values[np.arange(len(of_row)), truth[of_row]] = 1 / (1 + np.exp(-margin))
        values[np.arange(len(of_row)), other] += 1 / (1 + np.exp(margin))
        return predictions.make(ids, values, CLASSES)

    return table, [run(1.0) for _ in range(num_seeds)], [run(1.0 + better) for _ in range(num_seeds)]


def simulate(case: Case, better: float, times: int, true: float, seed: int = 0, num_seeds: int = 1,
             judge: Callable = compare.compare) -> dict[str, float]:
    rng, held, verdicts = np.random.default_rng(seed), [], []
    for _ in range(times):
        table, a, b = draw(case, better, rng, num_seeds)
        result = judge(F1, table, a, b)
        low, high = result.interval
        held.append(low <= true <= high)
        verdicts.append([result.p < compare.SURE, result.p < compare.PROBABLE, low > 0 or high < 0, old_rule(result)])
    sure, probable, over_images, old = np.mean(verdicts, axis=0)
    return {"coverage": float(np.mean(held)), "better": sure, "probably": probable, "interval": over_images, "old rule": old}


def old_rule(result: compare.Comparison) -> bool:
    """The interval is off 0, and so is Nadeau and Bengio's test, which inflates the noise of held-out images too."""
    low, high = result.interval
    leads = np.array(result.per_fold) if low > 0 else -np.array(result.per_fold)
    return (low > 0 or high < 0) and paired.corrected_p(leads) < 0.025


def true_difference(case: Case, better: float) -> float:
    """Of very many rows (and a group for every 60 of them)."""
    gains = []
    for seed in range(4):
        large = case._replace(num_rows=40000, num_groups=case.num_groups and 4000)
        table, a, b = draw(large, better, np.random.default_rng(1000 + seed))
        pair = [F1.pooled(table, frame)[1] for frame in (a[0], b[0])]
        gains.append(F1.scorer(table, pair[0].index)(pair[1]) - F1.scorer(table, pair[0].index)(pair[0]))
    return float(np.mean(gains))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES)[:5])
def test_the_interval_holds_the_true_difference_and_equal_runs_are_seldom_called_better(name):
    result = simulate(CASES[name], 0.0, 120, true=0.0)
    error = np.sqrt(0.95 * 0.05 / 120)
    assert abs(result["coverage"] - 0.95) < 2.5 * error + 0.01 and result["better"] <= 0.03 and result["probably"] <= 0.08, result


@pytest.mark.slow
def test_a_better_run_is_found_more_often_than_by_the_old_rule():
    result = simulate(CASES["600 rows, 1 image each"], BETTER, 80, true=0.0)
    assert result["probably"] > result["old rule"] + 0.1, result


def line(result: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in result.items())


if __name__ == "__main__":
    times = int(sys.argv[1])
    for name in ("600 rows, 1 image each", "600 rows, folds differ by training"):
        true = true_difference(CASES[name], BETTER)
        print(f"{name}, B better by {true:.3f}: {line(simulate(CASES[name], BETTER, times, true))}", flush=True)
    for name, case in CASES.items():
        print(f"{name}, equal: {line(simulate(case, 0.0, times, 0.0))}", flush=True)
    print(f"folds differ by training, 3 seeds, equal: {line(simulate(CASES['600 rows, folds differ by training'], 0.0, times // 3, 0.0, num_seeds=3))}")
