"""Decoders: the known optimum is found, and the nested estimate is not flattering where there is nothing to
find.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import fast
from sklearn.metrics import f1_score

from src.competition import decoders, paired, scoring
from src.competition.facts import Competition
from src.run import predictions
from src.run.files import read_json

LETTERS = ("a", "b", "c")


def case(competition: Competition, labels: dict, values: np.ndarray, seed: int = 0):
    """A competition's table with folds, and out-of-fold predictions."""
    ids = [f"i{n:05}" for n in range(len(values))]
    table = pd.DataFrame(
        {"id": ids, "row": ids, **labels, "fold": np.random.default_rng(seed).integers(0, 5, len(ids))}
    )
    return competition, table, predictions.make(ids, values, competition.outputs)


def fitted(name, competition, table, oof) -> decoders.Decoded:
    return decoders.fit(decoders.choose(name, competition), competition, table, oof)


def single(metric="macro_f1", answer="label", **facts) -> Competition:
    header = ("id", "label") if answer == "label" else ("id", *LETTERS)
    return Competition(
        labels=("label",),
        task="multiclass",
        classes=LETTERS,
        header=header,
        answer=answer,
        metric=metric,
        **facts,
    )


def several(metric="macro_f1") -> Competition:
    return Competition(
        labels=LETTERS,
        task="multilabel",
        classes=LETTERS,
        header=("id", *LETTERS),
        answer="probabilities",
        metric=metric,
    )


GRADES = Competition(
    labels=("label",),
    task="ordinal",
    classes=tuple("01234"),
    header=("id", "label"),
    answer="label",
    metric="quadratic_weighted_kappa",
)


def cells(truth: np.ndarray) -> dict:
    return {name: column.astype(int).astype(str) for name, column in zip(LETTERS, truth.T)}


# -- a known optimum


def test_thresholds_find_where_each_class_begins():
    probs = np.random.default_rng(0).random((1500, 3))
    found = fitted("thresholds", *case(several(), cells(probs > [0.2, 0.5, 0.85]), probs))
    assert np.allclose([found.parameters[name] for name in LETTERS], [0.2, 0.5, 0.85], atol=0.03)
    assert found.plain < 0.85 and found.nested > 0.95 and found.in_sample >= found.nested


def test_cut_points_find_where_each_grade_begins():
    # a model that shrinks to the middle, as they all do
    values = np.random.default_rng(0).uniform(1, 3, 1500)
    cuts = [1.3, 1.8, 2.2, 2.9]
    found = fitted(
        "cut_points", *case(GRADES, {"label": np.digitize(values, cuts).astype(str)}, values[:, None])
    )
    assert found.parameters["levels"] == [0, 1, 2, 3, 4] and np.allclose(
        found.parameters["cuts"], cuts, atol=0.03
    )
    assert found.plain < 0.8 and found.nested > 0.97


def test_cut_points_round_numbers_for_a_metric_of_labels():
    competition = Competition(
        labels=("label",), task="regression", header=("id", "label"), answer="value", metric="accuracy"
    )
    values = np.random.default_rng(0).uniform(0, 10, 800)
    levels = np.array([10.0, 20.0, 50.0])[np.digitize(values, [3, 6])]
    competition, table, oof = case(competition, {"label": levels.astype(str)}, values[:, None])
    found = fitted("cut_points", competition, table, oof)
    assert found.nested > 0.97 and np.allclose(found.parameters["cuts"], [3, 6], atol=0.2)
    decoded = decoders.apply({"decode": {"name": "cut_points", "parameters": found.parameters}}, oof)
    assert set(decoded["label"]) == {10, 20, 50}


def test_offsets_undo_what_was_added_to_each_class():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (1500, 3))
    truth, bent = logits.argmax(axis=1), np.exp(logits - [0.0, 1.5, -1.0])
    found = fitted(
        "offsets",
        *case(single(), {"label": np.array(LETTERS)[truth]}, bent / bent.sum(axis=1, keepdims=True)),
    )
    offsets = np.array([found.parameters[name] for name in LETTERS])
    assert np.allclose(offsets - offsets[0], [0, 1.5, -1.0], atol=0.2)
    assert found.plain < 0.8 and found.nested > 0.97


@pytest.mark.parametrize("num_classes", [2, 3])
def test_clip_is_as_sure_as_it_is_right(num_classes):
    """Certain answers of which a tenth are wrong: least is best at 0.1 of two classes, and of three at 0.1 /
    2 before the row is made to sum to one.
    """
    rng = np.random.default_rng(0)
    guess = rng.integers(0, num_classes, 2000)
    truth = np.where(np.arange(2000) % 10 == 0, (guess + 1) % num_classes, guess)
    names = LETTERS[:num_classes]
    competition = Competition(
        labels=("label",),
        task="multiclass",
        classes=names,
        header=("id", *names),
        answer="probabilities",
        metric="log_loss",
        lower_is_better=True,
    )
    competition, table, oof = case(competition, {"label": np.array(names)[truth]}, np.eye(num_classes)[guess])
    found = fitted("clip", competition, table, oof)
    decoded = decoders.apply({"decode": {"name": "clip", "parameters": found.parameters}}, oof)
    assert decoded.max(axis=None) == pytest.approx(0.9, abs=0.02) and np.allclose(
        decoded.sum(axis=1), 1, atol=1e-5
    )
    best = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1 / (num_classes - 1)))
    assert found.plain > 3 and found.nested == pytest.approx(best, abs=0.02 if num_classes == 2 else 0.06)


# -- pure noise


def noise(name: str, seed: int) -> decoders.Decoded:
    rng = np.random.default_rng(seed)
    if name == "thresholds":
        return fitted(
            name, *case(several("accuracy"), cells(rng.random((150, 3)) < 0.5), rng.random((150, 3)), seed)
        )
    if name == "offsets":
        return fitted(
            name,
            *case(
                single("accuracy"), {"label": rng.choice(LETTERS, 150)}, rng.dirichlet(np.ones(3), 150), seed
            ),
        )
    if name == "cut_points":
        return fitted(
            name,
            *case(GRADES, {"label": rng.integers(0, 5, 150).astype(str)}, rng.uniform(0, 4, (150, 1)), seed),
        )
    # calibrated: nothing is to be gained
    sure = np.array([0.01, 0.1, 0.89])
    order = np.array([rng.permutation(3) for _ in range(150)])
    probs = sure[order]
    truth = np.array([rng.choice(3, p=row) for row in probs])
    return fitted(
        name,
        *case(
            single("log_loss", "probabilities", lower_is_better=True),
            {"label": np.array(LETTERS)[truth]},
            probs,
            seed,
        ),
    )


@pytest.mark.parametrize("name", decoders.DECODERS)
def test_the_nested_estimate_is_not_optimistic_on_pure_noise(name):
    found = [noise(name, seed) for seed in range(5)]
    sign = -1 if name == "clip" else 1
    nested, in_sample = (
        sign * np.array([getattr(one, score) - one.plain for one in found])
        for score in ("nested", "in_sample")
    )
    chance = np.std(nested, ddof=1) / np.sqrt(len(found))
    assert nested.mean() < 2 * chance + 1e-6, "no gain beyond chance, where there is nothing to gain"
    assert in_sample.mean() > nested.mean() + chance and (in_sample >= -1e-9).all(), (
        "in sample it does flatter: that is what the nested one is for"
    )


# -- the guard, and what does not fit


def test_plain_is_kept_where_the_nested_estimate_does_not_beat_it():
    kept = [one for one in (noise("offsets", seed) for seed in range(2)) if one.nested <= one.plain]
    assert kept and all(one.parameters == {} for one in kept)
    frame = pd.DataFrame({"a": [0.2], "b": [0.8]})
    assert (
        decoders.apply({"decode": {"name": "offsets", "parameters": {}}}, frame) is frame
        and decoders.apply({}, frame) is frame
    )


@pytest.mark.parametrize("is_sure", [False, True])
def test_a_gain_that_may_be_chance_is_used_and_never_the_runs_score(bench, monkeypatch, capsys, is_sure):
    """The better of two scores flatters: on noise offsets came out 0.015 above the truth."""
    result = decoders.Decoded(
        {"blue": 0.1, "green": 0.0, "red": 0.0},
        0.8,
        0.9,
        0.85,
        {"0": 0.85, "1": 0.85, "2": 0.85},
        paired.Difference(0.05, 0.001 if is_sure else 0.1, 50, per_fold=(0.05, 0.05, 0.06)),
    )
    assert result.gain.is_gain is is_sure
    monkeypatch.setattr(decoders, "fit", lambda *parts: result)
    paths = bench.run(fast("epochs=1 decode=offsets"))
    note, score = read_json(bench.folder / "submissions/tiny-run.json"), read_json(paths.score)
    assert (
        note["oof"] == (0.85 if is_sure else score["oof"])
        and note["decode"]["parameters"] == result.parameters
    )
    assert ("the OOF stays the plain one's" in capsys.readouterr().out) is not is_sure


def test_a_metric_pasted_from_the_host_and_pooled_rows_are_decoded_by_the_same_door():
    def share(solution: pd.DataFrame, submission: pd.DataFrame) -> float:
        return float((solution["label"] == submission["label"]).mean())

    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 3, 200), 2)  # two images per row
    logits = np.eye(3)[truth] * 4 + rng.normal(0, 1, (400, 3))
    bent = np.exp(logits - [0, 3, 0])
    competition, table, oof = case(
        single(share), {"label": np.array(LETTERS)[truth]}, bent / bent.sum(axis=1, keepdims=True)
    )
    table["row"] = [f"r{n // 2}" for n in range(400)]
    table["fold"] = [n // 2 % 5 for n in range(400)]
    found = fitted("offsets", competition, table, oof)
    assert found.nested > found.plain + 0.05 and found.plain == pytest.approx(
        scoring.score(competition, table, oof)
    )
    assert list(found.folds) == ["0", "1", "2", "3", "4"] and np.mean(
        list(found.folds.values())
    ) == pytest.approx(found.nested)


@pytest.mark.parametrize(
    "name, competition, told",
    [
        ("threshold", several(), "decode=threshold is unknown; choose from auto, plain, thresholds"),
        (
            "thresholds",
            single(),
            "is for several labels per row, this is task='multiclass': choose from plain, offsets, clip",
        ),
        (
            "offsets",
            GRADES,
            "is for one class of several, this is task='ordinal': choose from plain, cut_points",
        ),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused_with_those_that_do(name, competition, told):
    with pytest.raises(ValueError, match=told):
        decoders.choose(name, competition)


def test_values_without_end_are_no_grades():
    competition = Competition(
        labels=("label",),
        task="regression",
        header=("id", "label"),
        answer="value",
        metric="rmse",
        lower_is_better=True,
    )
    values = np.random.default_rng(0).random(60)
    with pytest.raises(ValueError, match="the truth has 60 values"):
        fitted("cut_points", *case(competition, {"label": values.astype(str)}, values[:, None]))


@pytest.mark.parametrize("power", [1, 6])
def test_rare_labels_get_thresholds_as_good_as_the_best_by_trying_all(power):
    """A label of 3 % whose probabilities stay far below a half: rightly, or since class weights or a focal
    loss bent them.
    """
    rng = np.random.default_rng(0)
    chance = 0.03 * np.exp(rng.normal(0, 1.2, (2000, 3))).clip(0, 12)
    truth, probs = rng.random((2000, 3)) < chance, chance**power
    result = fitted("thresholds", *case(several(), cells(truth), probs))
    best = np.mean(
        [
            max(f1_score(true, values >= cut) for cut in np.quantile(values, np.linspace(0.5, 1, 200)))
            for true, values in zip(truth.T, probs.T)
        ]
    )
    assert result.in_sample > best - 0.02, (result, best)


@pytest.mark.parametrize("pool", ["max", lambda images: images.median()])
def test_rows_pooled_by_max_or_a_function_are_scored_as_the_one_label_that_they_have(pool):
    from sklearn import metrics as sk

    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 3, 100), 3)
    probs = np.exp(np.eye(3)[truth] * 1.5 + rng.normal(0, 1, (300, 3)))
    for metric in ("accuracy", "macro_f1"):
        competition, table, oof = case(
            single(metric, "probabilities", pool=pool),
            {"label": np.array(LETTERS)[truth]},
            probs / probs.sum(axis=1, keepdims=True),
        )
        table["row"] = [f"r{n // 3:03}" for n in range(300)]
        pooled = scoring.pooled(competition, table, oof)[1]
        answer = pooled.idxmax(axis=1).loc[table["row"].unique()]
        right = {"accuracy": sk.accuracy_score, "macro_f1": lambda t, g: sk.f1_score(t, g, average="macro")}[
            metric
        ](np.array(LETTERS)[truth[::3]], answer)
        assert (
            scoring.score(competition, table, oof) == pytest.approx(right)
            and scoring.usual_scores(competition, table, oof)["accuracy"] > 0.6
        )
