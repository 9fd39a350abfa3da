"""Checks of the classes: how many images each has, and whether the folds can hold them."""

from collections.abc import Iterator

import pandas as pd

from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, good, some, warn

UNEVEN = 20  # times as many images in the largest class as in the smallest
BALANCED = ("macro_f1", "balanced_accuracy")  # metrics in which a small class counts as much as a large one


def classes(data: Dataset) -> Iterator[Finding]:
    """Images per class; a warning where the metric weighs classes alike and the training does not."""
    competition, config, target = data.competition, data.config, data.target
    if data.has_values:
        columns = zip(competition.targets, target.T)
        ranges = [f"{name}: {v.min():.4g} to {v.max():.4g}, mean {v.mean():.4g}" for name, v in columns]
        yield good("; ".join(ranges))
        return
    counts = pd.Series(target.sum(axis=0).astype(int), index=list(competition.outputs))
    counts = counts.sort_values(ascending=False)
    sizes = [f"{name} {n}" for name, n in counts.items()]
    shown = sizes if len(sizes) <= 12 else [*sizes[:5], "...", *sizes[-5:]]
    seen = f"{len(counts)} classes in {len(data.table)} images: {', '.join(shown)}"
    ratio = counts.max() / max(counts.min(), 1)
    is_multilabel = competition.task == "multilabel"
    if is_multilabel:
        labels = target.sum(axis=1)
        seen += f"; {labels.mean():.2g} labels per image, none in {(labels == 0).sum()}"
    is_balanced = config.class_weights != "none" or config.sampler == "balanced"
    if ratio >= UNEVEN and competition.metric_name in BALANCED and not is_balanced:
        setting = '"sampler=balanced"' if is_multilabel else '"class_weights=sqrt", or SET="sampler=balanced"'
        yield warn(
            f"{seen}; {ratio:.0f} : 1, and {competition.metric_name} weighs small classes like large ones",
            f"try SET={setting}, and compare the OOF scores",
        )
    else:
        yield good(seen + (f"; {ratio:.1f} : 1" if len(counts) > 1 else ""))


def rare(data: Dataset) -> Iterator[Finding]:
    """Classes with too few images, or groups, for every fold: they are in fold -1, and never scored."""
    if data.has_values:
        return
    held_out = data.target[(data.table["fold"] >= 0).to_numpy()].sum(axis=0)
    counts = data.target.sum(axis=0).astype(int)
    classes = zip(data.competition.outputs, counts, held_out)
    unscored = [f"{name} ({n})" for name, n, scored in classes if n and not scored]
    folds, smallest = data.config.folds, counts[(counts > 0) & (held_out > 0)].min()
    if unscored:
        yield warn(
            f"too few images for folds={folds}, so they are learned and never scored: {some(unscored, 10)}",
            f'SET="folds={max(2, counts[counts > 1].min())}" or fewer; else add images of these classes, or'
            " merge them with another class",
        )
    elif smallest < 4 * folds:
        per_fold = f"{smallest} images, {smallest / folds:.1f} per fold"
        yield good(f"the smallest class has {per_fold}: its part of the score is noisy")
    else:
        yield good(f"every class is in every fold; the smallest has {smallest / folds:.0f} images per fold")


CLASSES = {"classes": classes, "rare": rare}
