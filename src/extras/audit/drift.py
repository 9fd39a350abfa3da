"""Checks of the test beside train: can a linear probe tell them apart, do brightness or size differ?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, good, warn
from src.extras.linear_probe import principal_components

MOST = 10_000  # images of each side that the probe learns from


def measure(data: Dataset) -> dict:
    """The AUC of held-out probabilities of being a test image, and those of the training images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng, train = np.random.default_rng(0), data.is_train
    sides = [rng.permutation(np.flatnonzero(data.is_readable & side))[:MOST] for side in (train, ~train)]
    rows = np.sort(np.concatenate(sides))
    is_test = ~train[rows]
    folds = StratifiedKFold(min(5, is_test.sum(), (~is_test).sum()), shuffle=True, random_state=0)
    model = LogisticRegression(C=0.3, max_iter=200, tol=1e-3, class_weight="balanced")
    features = principal_components(data.features[rows], 64)
    probability = cross_val_predict(model, features, is_test, cv=folds, method="predict_proba")[:, 1]
    ids = data.images["id"][rows][~is_test]
    looks_like_test = dict(zip(ids, probability[~is_test].round(4).tolist()))
    return {"auc": float(roc_auc_score(is_test, probability)), "looks": looks_like_test}


def adversary(data: Dataset) -> Iterator[Finding]:
    """Can a linear probe tell test images from training images?"""
    sizes = [int((data.is_readable & part).sum()) for part in (data.is_train, ~data.is_train)]
    if min(sizes) < 5:
        yield good(f"{sizes[1]} test images are too few to compare")
        return
    probe = data.cached("adversary", data.features_key, lambda: measure(data))
    error = np.sqrt(sum(1 / size for size in sizes) / 12)  # of the AUC where nothing differs
    seen = f"a linear probe tells test from train with AUC {probe['auc']:.2f} (0.50: not at all)"
    if probe["auc"] < max(0.7, 0.5 + 4 * error):
        yield good(seen)
        return
    data.folder.mkdir(parents=True, exist_ok=True)
    path = data.folder / "test_like.csv"
    looks = pd.Series(probe["looks"], name="looks_like_test").sort_values(ascending=False)
    looks.rename_axis("id").to_csv(path)
    yield warn(
        f"{seen}; the training images most like the test are {', '.join(looks.index[:3])} ...: {path}",
        "do not take the OOF score for the test's: compare recipes on the first rows of test_like.csv, and"
        " choose an augment that makes train look like the test",
    )


def drift(data: Dataset) -> Iterator[Finding]:
    """Brightness, contrast and size of test beside train, as differences in standard deviations."""
    light = (
        'SET="augment=medium" or strong varies light and colour; or equalise it in a '
        "read_image in src/competitions.py"
    )
    size = (
        "small pictures are blurred once enlarged: a lower image_size evens that out, or compare recipes on"
        " such images alone"
    )
    pixels = np.log2(data.number("width") * data.number("height"))
    means, warnings = [], []
    for name, values, change in (
        ("brightness", data.number("mean"), light),
        ("contrast", data.number("spread"), light),
        ("pixels (log2)", pixels, size),
    ):
        train, test = values[data.is_readable & data.is_train], values[data.is_readable & ~data.is_train]
        if len(train) < 2 or len(test) < 2:
            continue
        deviation = max(np.sqrt((train.var() + test.var()) / 2), 1e-3 * abs(train.mean()), 1e-9)
        shift = (test.mean() - train.mean()) / deviation
        error = np.sqrt(1 / len(train) + 1 / len(test))
        both = f"train {train.mean():.1f}, test {test.mean():.1f}"
        means.append(f"{name} {both}")
        if abs(shift) > max(0.5, 4 * error):
            warnings.append(warn(f"{name}: {both}, {shift:+.1f} standard deviations", change))
    yield from warnings or [good(f"means: {'; '.join(means)}")]


DRIFT = {"adversary": adversary, "drift": drift}
