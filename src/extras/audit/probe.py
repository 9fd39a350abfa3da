"""Checks by a linear probe on frozen features: is there enough data, does the backbone see the classes, does
the test look like train?
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.competition import scoring
from src.extras.audit.case import Case
from src.extras.findings import Finding, good, warn
from src.extras.probe import answers, reduced
from src.run import predictions

SHARES = (0.1, 0.25, 0.5, 1.0)
MANY = 2_000_000  # images times outputs: a probe of more takes minutes, so images are drawn
NEAR_CHANCE = 0.1  # of the way from chance to a perfect score


def part_of(case: Case, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """That share of the rows, of each class at least one image."""
    rows = rng.permutation(rows)
    rank = case.kinds.iloc[rows].groupby(case.kinds).cumcount().to_numpy()
    size = case.kinds.iloc[rows].map(case.kinds.iloc[rows].value_counts()).to_numpy()
    return rows[(rank < np.ceil(share * size))]


def make_curve(case: Case) -> dict:
    """The probe's score for each share of the training part and each fold; its held-out predictions with all
    of it; what chance scores.
    """
    c, table = case.competition, case.table
    fold, usable = table["fold"].to_numpy(), case.is_readable[case.is_train]
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(usable))[: max(1000, MANY // len(c.outputs))]
    features = (
        np.full((len(table), 1), 0.0)
        if not len(chosen)
        else np.zeros((len(table), min(256, case.features.shape[1])))
    )
    features[chosen] = reduced(case.features[chosen])
    numbers, scores, kept = sorted(k for k in set(fold[chosen]) if k >= 0)[:5], [], []
    for k in numbers:
        training, held_out = chosen[fold[chosen] != k], np.sort(chosen[fold[chosen] == k])
        part, row = table.iloc[held_out], []
        for share in SHARES:
            learned = part_of(case, training, share, np.random.default_rng(k))
            frame = predictions.make(
                part["id"],
                answers(features[learned], case.target[learned], features[held_out], task=c.task),
                c.outputs,
            )
            row.append(scoring.score(c, part, frame))
        scores.append(row)
        kept.append(frame)
    oof = predictions.join(kept)
    rng, part = np.random.default_rng(0), table[table["id"].isin(oof.index)]
    dealt = [
        scoring.score(c, part, oof.set_axis(pd.Index(rng.permutation(oof.index), name="id")))
        for _ in range(10)
    ]
    constant = scoring.score(
        c, part, predictions.make(part["id"], np.tile(case.target.mean(axis=0), (len(part), 1)), c.outputs)
    )
    perfect = scoring.score(c, part, predictions.make(part["id"], case.target[part.index], c.outputs))
    best = min if c.lower_is_better else max
    return {
        "scores": scores,
        "chance": best(float(np.mean(dealt)), constant),
        "spread": float(np.std(dealt)),
        "perfect": perfect,
        "images": len(chosen),
        "oof": oof.round(5).to_dict("split") if len(numbers) == len(set(fold[fold >= 0])) else {},
    }


def curve_of(case: Case) -> dict:
    key = [case.features_key, case.table["fold"].tolist(), case.labels.tolist(), case.competition.metric_name]
    return case.kept("curve", key, lambda: make_curve(case))


def learning_curve(case: Case) -> Iterator[Finding]:
    """What more images would bring, and how much of the network should learn."""
    found, config = curve_of(case), case.config
    scores, chance = np.array(found["scores"]), found["chance"]  # (K, shares)
    mean = scores.mean(axis=0)
    skill = (mean - chance) / (found["perfect"] - chance)
    error = scores[:, -1].std(ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else 0.0
    gain = abs(mean[-1] - mean[-2]) * (1 if skill[-1] > skill[-2] else -1)
    told = ", ".join(f"{share:.0%}: {score:.3f}" for share, score in zip(SHARES, mean))
    seen = (
        f"linear probe of {found['images']} images, {case.competition.metric_name} with {told} +-"
        f" {error:.3f}; chance {chance:.3f}; the last doubling brought {gain:+.3f}"
    )
    if abs(mean[-1] - chance) < 3 * found["spread"] or skill[-1] < NEAR_CHANCE:
        if not config.pretrained:
            yield good(f"{seen}; of random weights that says little")
        else:
            yield warn(
                f"{seen}: {config.backbone} hardly sees the classes; it is too far from these pictures, or"
                " labels belong to other images",
                "look at some images and labels; then another backbone, a larger image_size, or"
                " trainable=all",
            )
        return
    more = skill[-1] - skill[-2]
    data = (
        f"twice the images would bring about {gain:+.3f}: collecting, or pseudo-labels, pays"
        if more > 0.02 and abs(gain) > 2 * error
        else "more images of the same kind would bring little"
    )
    yield good(seen, f"{advice(skill[-1], len(case.table))}; {data}")


def advice(skill: float, num_images: int) -> str:
    """How much should learn, by how far the frozen features come from chance (0) to perfect (1)."""
    far = f"frozen features come {skill:.0%} of the way from chance to perfect"
    if skill >= 0.95:
        return f"{far}: trainable=head may be enough"
    if skill >= 0.6:
        return f"{far}: the last stages are worth learning (trainable=2), then compare with trainable=all"
    if num_images >= 2000:
        return f"{far}: let all learn (trainable=all)"
    return f"{far}: much must learn from few images: trainable=all with augment=strong, and collect more"


def make_adversary(case: Case) -> dict:
    """Held-out probabilities of being a test image, and their AUC."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng, is_test = np.random.default_rng(0), ~case.is_train
    chosen = np.sort(
        np.concatenate(
            [
                rng.permutation(np.flatnonzero(case.is_readable & (is_test == t)))[:10_000]
                for t in (False, True)
            ]
        )
    )
    folds = StratifiedKFold(
        min(5, is_test[chosen].sum(), (~is_test[chosen]).sum()), shuffle=True, random_state=0
    )
    model = LogisticRegression(C=0.3, max_iter=200, tol=1e-3, class_weight="balanced")
    share = cross_val_predict(
        model, reduced(case.features[chosen], 64), is_test[chosen], cv=folds, method="predict_proba"
    )[:, 1]
    looks = dict(zip(case.images["id"][chosen][~is_test[chosen]], share[~is_test[chosen]].round(4).tolist()))
    return {"auc": float(roc_auc_score(is_test[chosen], share)), "looks": looks}


def adversary(case: Case) -> Iterator[Finding]:
    """Can a linear probe tell test images from training images?"""
    sizes = [int((case.is_readable & part).sum()) for part in (case.is_train, ~case.is_train)]
    if min(sizes) < 5:
        yield good(f"{sizes[1]} test images are too few to compare")
        return
    found = case.kept("adversary", case.features_key, lambda: make_adversary(case))
    error = np.sqrt(sum(1 / size for size in sizes) / 12)  # of an AUC of strangers
    seen = f"a linear probe tells test from train with AUC {found['auc']:.2f} (0.5: not at all)"
    if found["auc"] < max(0.7, 0.5 + 4 * error):
        yield good(seen)
        return
    case.folder.mkdir(parents=True, exist_ok=True)
    path, looks = (
        case.folder / "test_like.csv",
        pd.Series(found["looks"], name="looks_like_test").sort_values(ascending=False),
    )
    looks.rename_axis("id").to_csv(path)
    yield warn(
        f"{seen}; training images most like the test: {', '.join(looks.index[:3])} ...: {path}",
        "the OOF is not the test's score: compare recipes on the upper part of test_like.csv, and augment"
        " towards the test",
    )


def drift(case: Case) -> Iterator[Finding]:
    """Brightness and size of test beside train, as differences in standard deviations."""
    facts, is_train = case.facts[case.is_readable], case.is_train[case.is_readable]
    told, warned = [], []
    pixels = np.log2(pd.to_numeric(facts["width"]) * pd.to_numeric(facts["height"]))
    for name, values, change in (
        (
            "brightness",
            pd.to_numeric(facts["mean"]),
            "augment=medium or strong changes light and colour, or even it out in read_image",
        ),
        (
            "contrast",
            pd.to_numeric(facts["spread"]),
            "augment=medium or strong changes light and colour, or even it out in read_image",
        ),
        (
            "pixels (log2)",
            pixels,
            (
                "small pictures are blurred once enlarged: a lower image_size evens that out, or compare on"
                " such images alone"
            ),
        ),
    ):
        train, test = values[is_train], values[~is_train]
        if len(train) < 2 or len(test) < 2:
            continue
        unit = max(np.sqrt((train.var() + test.var()) / 2), 1e-3 * abs(train.mean()), 1e-9)
        shift, error = (test.mean() - train.mean()) / unit, np.sqrt(1 / len(train) + 1 / len(test))
        told.append(f"{name} {train.mean():.1f} and {test.mean():.1f}")
        if abs(shift) > max(0.5, 4 * error):
            warned.append(
                warn(
                    f"{name}: train {train.mean():.1f}, test {test.mean():.1f}, {shift:+.1f} standard"
                    " deviations",
                    change,
                )
            )
    yield from warned or [good(f"train and test: {', '.join(told)}")]


PROBES = {"learning-curve": learning_curve, "adversary": adversary, "drift": drift}
