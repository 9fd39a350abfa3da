"""Checks of the tables alone: how many images each class has, whether the folds can hold them, and columns
that look like a group.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.extras.audit.case import Case
from src.extras.findings import Finding, fail, good, some, warn

UNEVEN = 20  # times as many images in the largest class as in the smallest
# metrics in which a small class counts as much as a large one
BALANCED = ("macro_f1", "balanced_accuracy")


def classes(case: Case) -> Iterator[Finding]:
    """Images per class; a warning where the metric weighs classes alike and the training does not."""
    if case.has_values:
        yield good(
            "; ".join(
                f"{name}: {low:.4g} to {high:.4g}, mean {mean:.4g}"
                for name, low, mean, high in zip(
                    case.competition.targets,
                    case.target.min(axis=0),
                    case.target.mean(axis=0),
                    case.target.max(axis=0),
                )
            )
        )
        return
    counts = pd.Series(case.target.sum(axis=0).astype(int), index=list(case.competition.outputs)).sort_values(
        ascending=False
    )
    told = [f"{name} {n}" for name, n in counts.items()]
    shown = ", ".join(told if len(told) <= 12 else [*told[:5], "...", *told[-5:]])
    seen, ratio = (
        f"{len(counts)} classes in {len(case.table)} images: {shown}",
        counts.max() / max(counts.min(), 1),
    )
    if case.competition.task == "multilabel":
        seen += (
            f"; {case.target.sum(axis=1).mean():.2g} per image, none in"
            f" {(case.target.sum(axis=1) == 0).sum()}"
        )
    is_even = case.config.class_weights != "none" or case.config.sampler == "balanced"
    if ratio >= UNEVEN and case.competition.metric_name in BALANCED and not is_even:
        yield warn(
            f"{seen}; {ratio:.0f} : 1, and {case.competition.metric_name} counts small classes like large"
            " ones",
            (
                'SET="sampler=balanced"'
                if case.competition.task == "multilabel"
                else 'SET="class_weights=sqrt", or sampler=balanced'
            )
            + "; compare the OOF scores",
        )
    else:
        yield good(seen + (f"; {ratio:.1f} : 1" if len(counts) > 1 else ""))


def rare(case: Case) -> Iterator[Finding]:
    """Classes in too few images, or groups, to be in every fold: they are in fold -1 and no score tells of
    them.
    """
    if case.has_values:
        return
    held_out = case.target[(case.table["fold"] >= 0).to_numpy()].sum(axis=0)
    counts = case.target.sum(axis=0).astype(int)
    lost = [
        f"{name} ({n})"
        for name, n, scored in zip(case.competition.outputs, counts, held_out)
        if n and not scored
    ]
    folds, few = case.config.folds, counts[(counts > 0) & (held_out > 0)].min()
    if lost:
        yield warn(
            f"too rare for folds={folds}, learned and never scored: {some(lost, 10)}",
            f"folds={max(2, counts[counts > 1].min())} or fewer, more images of them, or join them with"
            " another class",
        )
    elif few < 4 * folds:
        yield good(
            f"the smallest class has {few} images, {few / folds:.1f} in a fold: its part of the score is"
            " rough"
        )
    else:
        yield good(f"every class is in every fold; the smallest with {few / folds:.0f} images")


def groups(case: Case) -> Iterator[Finding]:
    """Columns that look like a patient or a site, whose values lie on both sides of the folds (FIELD B22)."""
    c, frame = case.competition, case.frame.drop_duplicates("id").set_index("id").reindex(case.table["id"])
    if c.group:
        yield good(f"group={c.group!r}: {case.table['group'].nunique()} groups, each in one fold")
        return
    if not c.suspects:
        yield good("no column looks like a group")
    for column in c.suspects:
        yield suspect(case, column, frame[column].to_numpy(), test_values(case, column))
    if not case.quick and not c.suspects and c.train_csv:
        # p07_2 and p07_3: two pictures of p07?
        stems = case.table["id"].str.replace(r"[_-][^_-]*$", "", regex=True)
        if stems.nunique() <= 0.8 * len(stems) and stems.nunique() > 2 * len(c.outputs):
            finding = suspect(case, "id up to its last _ or -", stems.to_numpy(), None)
            yield from [finding] if finding.level == "FAIL" else []


def test_values(case: Case, column: str) -> set[str] | None:
    """The test's values of a column; None where it has no such column."""
    from src.competition import tables

    frame = tables.test_frame(case.settings.folder, case.competition)
    return set(frame[column]) if column in frame else None


def suspect(case: Case, column: str, values: np.ndarray, in_test: set[str] | None) -> Finding:
    """One column that may be a group: is it torn by the folds, does the test share it, do its pictures
    resemble each other?
    """
    known = pd.Series(values).replace("", np.nan)
    folds = case.table["fold"].groupby(known).nunique()
    seen = f"{column!r}: {len(folds)} values, {(folds > 1).sum()} of them in several folds"
    change = f"if images of one {column!r} belong together, state group={column!r} in src/competitions.py"
    if not (folds > 1).any():
        return good(seen)
    if in_test is not None and len(in_test & set(known.dropna())) > 0.5 * len(in_test):
        return good(f"{seen}; the test has the same ones, so the folds are like the test")
    if case.quick:
        return warn(seen, f"{change}; make audit looks whether they resemble each other")
    rate, chance = kinship(case, known)
    seen += (
        f"; of a class, the nearest picture is of the same value for {rate:.0%}, by chance for {chance:.0%}"
    )
    return (
        fail(f"{seen}: the folds leak, the OOF will flatter", change.partition(", ")[2])
        if rate > max(0.3, 3 * chance)
        else warn(seen, change)
    )


def kinship(case: Case, values: pd.Series) -> tuple[float, float]:
    """How often the nearest picture of the same class has the same value, and how often it would by chance."""

    def make() -> list[float]:
        vectors = case.features[case.is_train] - case.features[case.is_train].mean(axis=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
        codes, same, chance = pd.factorize(values)[0], [], []
        for rows in case.kinds.groupby(case.kinds).indices.values():
            rows = np.random.default_rng(0).permutation(rows[codes[rows] >= 0])[:3000]
            if len(rows) < 3:
                continue
            near = vectors[rows] @ vectors[rows].T - 2 * np.eye(len(rows))
            share = np.bincount(codes[rows])[codes[rows]]
            # a value that is there once can't be met again
            shared = share > 1
            same += (codes[rows][near.argmax(axis=1)] == codes[rows])[shared].tolist()
            chance += ((share - 1) / (len(rows) - 1))[shared].tolist()
        return [float(np.mean(same or [0])), float(np.mean(chance or [0]))]

    rate, chance = case.kept(
        "kinship", [case.features_key, values.fillna("").tolist(), case.labels.tolist()], make
    )
    return rate, chance


COUNTS = {"classes": classes, "rare": rare, "groups": groups}
