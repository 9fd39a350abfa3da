"""Check by a linear probe on frozen features: are there enough images, does the backbone see the classes?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.competition import scoring
from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, good, warn
from src.extras.linear_probe import fit_predict, principal_components
from src.run import predictions

SHARES = (0.1, 0.25, 0.5, 1.0)  # of the training part
MANY = 2_000_000  # images times outputs: a probe of more takes minutes, so images are drawn
NEAR_CHANCE = 0.1  # of the way from chance to a perfect score


def subset(data: Dataset, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """That share of the rows, of each class at least one image."""
    rows = rng.permutation(rows)
    stratum = data.strata.iloc[rows]
    rank = stratum.groupby(stratum).cumcount().to_numpy()
    size = stratum.map(stratum.value_counts()).to_numpy()
    return rows[rank < np.ceil(share * size)]


def probe_features(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """(N, F) of the training images, filled in for these rows."""
    if not len(rows):
        return np.zeros((len(data.table), 1))
    features = np.zeros((len(data.table), min(256, data.features.shape[1])))
    features[rows] = principal_components(data.features[rows])
    return features


def measure(data: Dataset) -> dict:
    """Scores for each fold and share of its training part, held-out predictions, and what chance scores."""
    c, table, fold = data.competition, data.table, data.table["fold"].to_numpy()
    readable = np.flatnonzero(data.is_readable[data.is_train])
    rows = np.random.default_rng(0).permutation(readable)[: max(1000, MANY // len(c.outputs))]
    features = probe_features(data, rows)
    folds = sorted(k for k in set(fold[rows]) if k >= 0)[:5]
    scores, frames = [], []
    for k in folds:
        training, held_out = rows[fold[rows] != k], np.sort(rows[fold[rows] == k])
        part, fold_scores = table.iloc[held_out], []
        for share in SHARES:
            train = subset(data, training, share, np.random.default_rng(k))
            values = fit_predict(features[train], data.target[train], features[held_out], task=c.task)
            frame = predictions.make(part["id"], values, c.outputs)
            fold_scores.append(scoring.score(c, part, frame))
        scores.append(fold_scores)
        frames.append(frame)
    oof = predictions.join(frames)
    has_all = len(folds) == len(set(fold[fold >= 0]))
    return {
        "scores": scores,
        **reference_scores(data, table[table["id"].isin(oof.index)], oof),
        "images": len(rows),
        "oof": oof.round(5).to_dict("split") if has_all else {},
    }


def reference_scores(data: Dataset, part: pd.DataFrame, oof: pd.DataFrame) -> dict[str, float]:
    """Scores of chance (shuffled predictions or a constant, the better one), its spread, a perfect score."""
    c, rng = data.competition, np.random.default_rng(0)
    shuffled = [
        scoring.score(c, part, oof.set_axis(pd.Index(rng.permutation(oof.index), name="id")))
        for _ in range(10)
    ]
    mean = np.tile(data.target.mean(axis=0), (len(part), 1))
    constant = scoring.score(c, part, predictions.make(part["id"], mean, c.outputs))
    perfect = scoring.score(c, part, predictions.make(part["id"], data.target[part.index], c.outputs))
    best = min if c.lower_is_better else max
    chance = best(float(np.mean(shuffled)), constant)
    return {"chance": chance, "spread": float(np.std(shuffled)), "perfect": perfect}


def measured(data: Dataset) -> dict:
    """`measure`, from the cache where nothing has changed."""
    key = [data.features_key, data.table["fold"].tolist(), data.labels.tolist(), data.competition.metric_name]
    return data.cached("curve", key, lambda: measure(data))


def learning_curve(data: Dataset) -> Iterator[Finding]:
    """What more images would bring, and how much of the network should learn."""
    curve, config = measured(data), data.config
    scores, chance = np.array(curve["scores"]), curve["chance"]  # scores: (K, shares)
    mean = scores.mean(axis=0)
    skill = (mean - chance) / (curve["perfect"] - chance)
    error = scores[:, -1].std(ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else 0.0
    gain = abs(mean[-1] - mean[-2]) * (1 if skill[-1] > skill[-2] else -1)
    by_share = ", ".join(f"{score:.3f} from {share:.0%}" for share, score in zip(SHARES, mean))
    seen = (
        f"linear probe of {curve['images']} images: {data.competition.metric_name} {by_share} of them, +-"
        f" {error:.3f}; chance scores {chance:.3f}; the last doubling of the images gained {gain:+.3f}"
    )
    if abs(mean[-1] - chance) >= 3 * curve["spread"] and skill[-1] >= NEAR_CHANCE:
        pays = skill[-1] - skill[-2] > 0.02 and abs(gain) > 2 * error
        if pays:
            more = f"twice the images would gain about {gain:+.3f}: collecting, or pseudo-labels, pays"
        else:
            more = "more images of the same kind would gain little"
        yield good(seen, f"{advice(skill[-1], len(data.table))}; {more}")
    elif not config.pretrained:
        yield good(f"{seen}; the weights are random (pretrained=false), so that says little")
    else:
        yield warn(
            f"{seen}: {config.backbone} hardly sees the classes, or labels belong to other images",
            "compare images with their labels; try another backbone, a larger image_size or trainable=all",
        )


def advice(skill: float, num_images: int) -> str:
    """How much should learn, by how far the frozen features come from chance (0) to perfect (1)."""
    text = f"frozen features come {skill:.0%} of the way from chance to a perfect score"
    if skill >= 0.95:
        return f"{text}: trainable=head may be enough"
    if skill >= 0.6:
        return f"{text}: let the last stages learn (trainable=2), then compare with trainable=all"
    if num_images >= 2000:
        return f"{text}: let everything learn (trainable=all)"
    return (
        f"{text}: much must be learned from few images: trainable=all with augment=strong, and collect more"
    )


LEARNING_CURVE = {"learning-curve": learning_curve}
