"""How far does what an ensemble reports lie above the truth, where labels are noise?

By hand, at full size: python -m tests.simulations.test_simulated_ensemble 200        in the tests: fewer
draws, the same seeds
"""

import sys

import numpy as np
import pandas as pd
import pytest

from src.competition import scoring
from src.extras.ensemble import blends
from src.run import predictions
from tests.simulations.fast import Fast, area, share_right


@pytest.fixture(autouse=True)
def scored_fast(monkeypatch):
    """What the kit asks of a competition, a Fast answers itself."""
    for name in ("pooled", "scorer", "score"):
        monkeypatch.setattr(scoring, name, lambda one, *rest, name=name: getattr(one, name)(*rest))


LETTERS = ("a", "b", "c", "d", "e")


def table_of(labels: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    ids = [f"i{n:04}" for n in range(len(labels))]
    fold = (rng.permutation(group.max() + 1) % 5)[group]
    return pd.DataFrame(
        {
            "id": ids,
            "row": ids,
            "label": labels,
            "__label__": labels,
            "group": group.astype(str),
            "fold": fold,
        }
    )


def five_classes(rng: np.random.Generator) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """300 images, 3 members that guess."""
    table = table_of(rng.choice(LETTERS, 300), np.arange(300), rng)
    return table, [predictions.make(table["id"], rng.dirichlet(np.ones(5), 300), LETTERS) for _ in range(3)]


def trained(
    rng: np.random.Generator, num_groups: int, per_group: int
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """A label per group by chance; 3 members, each a ridge regression of 20 features that tell the group and
    nothing else, held out fold by fold.
    """
    group = np.repeat(np.arange(num_groups), per_group)
    table = table_of(rng.choice(["0", "1"], num_groups)[group], group, rng)
    target, fold = (table["label"] == "1").to_numpy(float), table["fold"].to_numpy()
    members = []
    for _ in range(3):
        features = rng.normal(0, 1, (num_groups, 20))[group] + rng.normal(0, 0.5, (len(group), 20))
        logit = np.zeros(len(group))
        for k in range(5):
            x, y = features[fold != k], target[fold != k]
            weights = np.linalg.solve(x.T @ x + 10 * np.eye(20), x.T @ (y - y.mean()))
            logit[fold == k] = 4 * (y.mean() - 0.5 + features[fold == k] @ weights)
        prob = 1 / (1 + np.exp(-logit))
        members.append(predictions.make(table["id"], np.stack([1 - prob, prob], axis=1), ("0", "1")))
    return table, members


CASES = {
    "accuracy of 5 classes, 300 images, members that guess": (Fast(share_right), five_classes, 0.2),
    "AUC, 150 images, trained members": (Fast(area), lambda rng: trained(rng, 150, 1), 0.5),
    "AUC, 30 groups of 10, trained members": (Fast(area), lambda rng: trained(rng, 30, 10), 0.5),
}


def simulate(case: str, times: int, seed: int = 0) -> dict[str, float]:
    """Over so many draws: the bias of what is reported, of each way's estimate and of the best of them, with
    standard errors.
    """
    competition, draw, truth = CASES[case]
    rng, reported, ways, left = np.random.default_rng(seed), [], [], 0
    for _ in range(times):
        table, members = draw(rng)
        choice = blends.choose(
            competition, table, dict.fromkeys(("mean", "greedy", "stack"), members), competition.score
        )
        reported.append(choice.scores[choice.name] - truth)
        ways.append([choice.scores[way] - truth for way in ("mean", "greedy", "stack")])
        left += choice.name != "mean"
    columns = {
        "reported": np.array(reported),
        "best of all": np.max(ways, axis=1),
        **dict(zip(("mean", "greedy", "stack"), np.array(ways).T)),
    }
    errors = {f"error of {name}": values.std(ddof=1) / np.sqrt(times) for name, values in columns.items()}
    return {"left": left / times} | {name: values.mean() for name, values in columns.items()} | errors


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_is_reported_lies_no_further_above_the_truth_than_chance_explains(case):
    result = simulate(case, 40)
    assert result["reported"] < 2 * result["error of reported"] + 0.003, result
    assert result["reported"] < result["best of all"] and result["left"] <= 0.1


if __name__ == "__main__":
    for name in CASES:
        row = simulate(name, int(sys.argv[1]))
        biases = "  ".join(
            f"{way} {row[way]:+.4f} +- {row[f'error of {way}']:.4f}"
            for way in ("mean", "greedy", "stack", "best of all", "reported")
        )
        print(f"{name}: {biases}; the mean is left in {row['left']:.0%}", flush=True)
