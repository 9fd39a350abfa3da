"""How often do two final picks contain the truly best submission of a competition, and how much do they lose?

By hand, at full size: python -m tests.simulations.test_simulated_ledger 200 1        in the tests: fewer ladders,
the same seeds

A ladder is 20 submissions of four kinds of model. An image has a difficulty that all share, one for each kind,
and luck; a submission is right where its quality exceeds them. The true score is the share of all images that
it would be right on, the out-of-fold score that of 3,000 images, the public score that of a share of 2,000.
"""

import math
import sys
from typing import NamedTuple

import numpy as np
import pytest

from src.extras.ledger import figures, noise, picks
from src.extras.ledger.entries import Entry

NUM_FOLDS, NUM_KINDS, NUM_CLASSES = 5, 4, 5
SPREADS = (1.0, 0.5, 0.4)  # of what an image asks for: of all submissions, of those of a kind, of one alone


class Case(NamedTuple):
    public: float = 0.3  # share of the test rows
    shift: float = 0.0  # spread of what a kind of model loses or gains on the test set
    num_oof: int = 3000
    num_test: int = 2000
    num_submissions: int = 20
    truth: float = 0.08  # spread of the qualities
    training: float = 0.05  # spread of a fold's quality by the luck of its training


CASES = {
    "public share 30 %": Case(),
    "public share 10 %": Case(public=0.1),
    "500 training images": Case(num_oof=500),
    "submissions nearly alike": Case(truth=0.03),
    "the test set differs": Case(shift=0.06),
    "the test set differs much": Case(shift=0.15),
}


class Ladder(NamedTuple):
    entries: list[Entry]
    labels: np.ndarray  # (M, T): what each submission says of the test rows
    truth: np.ndarray  # (M,) true scores
    share: float  # of the test rows that the public score is of


def draw(case: Case, rng: np.random.Generator) -> Ladder:
    num = case.num_submissions
    kind = rng.integers(NUM_KINDS, size=num)
    quality = rng.normal(1.3, case.truth, num) + np.linspace(0, case.truth, num)  # a team learns
    on_test = quality + rng.normal(0, case.shift, NUM_KINDS)[kind]
    fold = np.arange(case.num_oof) % NUM_FOLDS
    of_fold = rng.normal(0, case.training, (num, NUM_FOLDS))
    oof = is_right(quality[:, None] + of_fold[:, fold], kind, rng)  # (M, N)
    test = is_right(on_test[:, None] + of_fold.mean(axis=1)[:, None], kind, rng)  # (M, T): the folds' mean
    test = test[:, : case.num_test]
    wrong = rng.integers(1, NUM_CLASSES, test.shape)
    num_public = int(case.public * case.num_test)
    folds = np.stack([oof[:, fold == k].mean(axis=1) for k in range(NUM_FOLDS)], axis=1)  # (M, K)
    entries = [
        Entry(
            name=f"run{i}",
            sha256=str(i),
            oof=oof[i].mean(),
            folds=tuple(folds[i]),
            fold_hash="same",
            public=test[i, :num_public].mean(),
            private=test[i, num_public:].mean(),
            oof_rows=case.num_oof,
            test_rows=case.num_test,
            is_sent=True,
            is_late=False,
        )
        for i in range(num)
    ]
    scale = math.sqrt(sum(spread**2 for spread in SPREADS))
    true = np.array([0.5 * (1 + math.erf(q / scale / math.sqrt(2))) for q in on_test + of_fold.mean(axis=1)])
    return Ladder(entries, np.where(test, 0, wrong), true, case.public)


def is_right(
    quality: np.ndarray, kind: np.ndarray, rng: np.random.Generator, width: int = 3000
) -> np.ndarray:
    """(M, N) of qualities (M, N) or (M, 1)."""
    width = quality.shape[1] if quality.shape[1] > 1 else width
    shared, of_kind, own = SPREADS
    difficulty = rng.normal(0, shared, width) + rng.normal(0, of_kind, (NUM_KINDS, width))[kind]
    return quality > difficulty + rng.normal(0, own, (len(kind), width))


# ---- ways to pick two, each as numbers of submissions


def advice(ladder: Ladder) -> list[int]:
    best, ranked = picks.choose(ladder.entries, difference_of(ladder), ladder.share)
    return [int(best.sha256), int(ranked[0].entry.sha256)]


def advice_without_public(ladder: Ladder) -> list[int]:
    entries = [entry._replace(public=math.nan) for entry in ladder.entries]
    return advice(ladder._replace(entries=entries))


def most_different(ladder: Ladder) -> list[int]:
    """Beside the best OOF, the one that differs most among those within a standard error of it."""
    best, ranked = picks.choose(ladder.entries, difference_of(ladder), ladder.share)
    error = {
        one.entry.sha256: math.sqrt(noise.fold_variance(best, one.entry) * noise.overlap(NUM_FOLDS))
        for one in ranked
    }
    equals = [one for one in ranked if best.oof - one.entry.oof <= error[one.entry.sha256]] or ranked[:1]
    return [int(best.sha256), int(max(equals, key=lambda one: one.difference).entry.sha256)]


def difference_of(ladder: Ladder) -> noise.Difference:
    return lambda a, b: float((ladder.labels[int(a.sha256)] != ladder.labels[int(b.sha256)]).mean())


def top(ladder: Ladder, score: str, number: int) -> list[int]:
    return [int(i) for i in np.argsort([-getattr(entry, score) for entry in ladder.entries])[:number]]


WAYS = {
    "the advice": advice,
    "the advice without public scores": advice_without_public,
    "best OOF, and the most different within its noise": most_different,
    "best OOF and best public": lambda ladder: [*top(ladder, "oof", 1), *top(ladder, "public", 1)],
    "two best OOF": lambda ladder: top(ladder, "oof", 2),
    "two best public": lambda ladder: top(ladder, "public", 2),
    "best OOF alone": lambda ladder: top(ladder, "oof", 1),
    "best public alone": lambda ladder: top(ladder, "public", 1),
}


def simulate(case: Case, num: int, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """way -> (share of ladders whose picks contain the truly best, mean regret in points of the better pick,
    and its standard error)
    """
    rng = np.random.default_rng(seed)
    ladders = [draw(case, rng) for _ in range(num)]
    found = {}
    for way, pick in WAYS.items():
        chosen = [pick(ladder) for ladder in ladders]
        hits = [ladder.truth.argmax() in picked for ladder, picked in zip(ladders, chosen)]
        regrets = [
            100 * (ladder.truth.max() - ladder.truth[picked].max()) for ladder, picked in zip(ladders, chosen)
        ]
        found[way] = (float(np.mean(hits)), float(np.mean(regrets)), float(np.std(regrets) / math.sqrt(num)))
    return found


def coverage(num: int, seed: int = 0) -> dict[str, float]:
    """Of the 95 % interval of the rank correlation, for 20 submissions: how often it contains that of many."""
    rng, held = np.random.default_rng(seed), []
    for correlation in (0.0, 0.5, 0.9):
        true = 6 / math.pi * math.asin(correlation / 2)  # Spearman's of a normal pair
        for _ in range(num):
            a = rng.normal(size=20)
            b = correlation * a + math.sqrt(1 - correlation**2) * rng.normal(size=20)
            _, low, high = figures.rank_correlation(a, b)
            held.append((correlation, low <= true <= high))
    return {f"{c}": float(np.mean([ok for which, ok in held if which == c])) for c in (0.0, 0.5, 0.9)}


def luck(num: int, seed: int = 0) -> tuple[float, float]:
    """Of 20 equally good submissions: how far the best public score lies above the mean, and what is said."""
    rng, gains, expected = np.random.default_rng(seed), [], []
    for _ in range(num):
        ladder = draw(Case(truth=0.0, training=0.0), rng)
        best, *others = sorted(ladder.entries, key=lambda entry: -entry.oof)
        of_fold = noise.variances(best, others, difference_of(ladder)).mean()
        error = math.sqrt(of_fold / 2 * picks.public_variance(best, ladder.share))
        gain, said = figures.public_luck(ladder.entries, error)
        gains.append(gain), expected.append(said)
    return float(np.mean(gains)), float(np.mean(expected))


# ---- in the tests


def test_the_advice_contains_the_truly_best_more_often_than_either_score_alone():
    for name in ("public share 30 %", "the test set differs much"):
        found = simulate(CASES[name], 60)
        share, regret, _ = found["the advice"]
        for way in (
            "best OOF alone",
            "best public alone",
            "best OOF, and the most different within its noise",
        ):
            assert share > found[way][0] and regret < found[way][1], (name, way)


def test_the_luck_of_equally_good_submissions_is_what_is_expected():
    gain, expected = luck(40)
    assert gain == pytest.approx(expected, rel=0.2)


def test_the_interval_of_the_rank_correlation_holds_the_true_one():
    assert all(share > 0.9 for share in coverage(200).values())


if __name__ == "__main__":
    number, seed = int(sys.argv[1]), int(sys.argv[2])
    for name, case in CASES.items():
        print(name)
        for way, (share, regret, error) in simulate(case, number, seed).items():
            print(f"  {way:50} {share:5.1%}  {regret:.2f} +- {error:.2f}")
    print("coverage of the rank correlation's interval", coverage(10 * number, seed))
    print("luck, expected luck", luck(number, seed))
