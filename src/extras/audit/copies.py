"""Checks for the same picture twice: equal files, and copies that were resized, compressed anew, brightened
or mirrored. -> groups.csv, sheets
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from src.competition.groups import join_groups
from src.data.looks import ALONE, differing, signs
from src.extras.audit.case import Case
from src.extras.audit.sheets import Cell, draw_sheet
from src.extras.findings import Finding, fail, good, some, warn
from src.run.files import write_text

# of the training images with a copy in another fold: from here on the OOF is not to be trusted
LEAK = 0.02
# Bits in which two hashes may differ, and how far apart the backbone may find them, in units of the usual
# distance to a nearest neighbour.
# Measured: of 50 photographs, copies at half the size, JPEG quality 20 or mirrored differ in 2 to 8 bits at
# 0.04 to 0.4 units, grey ones at 0.6,
# cut by 5 % in 46 bits at 0.1 to 0.2 (82 % are found). The nearest strangers among 3,781 photographs differ
# in 40 bits, among 5,000 digits
# (the 1s!) in 20 at 1.5 units.
SURE, SURE_DISTANCE, CUT, CUT_DISTANCE = 20, 1.0, 64, 0.17


def exact_pairs(case: Case) -> pd.DataFrame:
    """Each image beside the next one with equal bytes: a, b (places in case.images), kind."""
    content = case.images["content"]
    known = content[(content != "") & ~content.str.startswith("unreadable") & (case.images["bytes"] > 0)]
    rows = [
        pair
        for places in known.groupby(known).indices.values()
        if len(places) > 1
        for pair in pairwise(known.index[places])
    ]
    return pd.DataFrame(sorted(rows), columns=["a", "b"], dtype=int).assign(kind="equal")


def near_pairs(case: Case) -> pd.DataFrame:
    """Pairs that look the same, though their bytes differ."""
    rows = case.kept("near", case.features_key, lambda: look_alikes(case))
    return pd.DataFrame(rows, columns=["a", "b", "kind"])


def look_alikes(case: Case) -> list[tuple[int, int, str]]:
    """(a, b, near or mirrored): alike by their hashes, and by the backbone. A picture of one colour resembles
    everything and is left out; one that is its own mirror image counts as a plain copy.
    """
    facts = case.facts
    usable = np.flatnonzero(
        case.is_readable
        & (pd.to_numeric(facts["spread"]) > 2).to_numpy()
        & ~case.images["content"].duplicated().to_numpy()
    )
    plain, mirrored = (signs(facts[name].iloc[usable]) for name in ("looks", "mirrored"))
    vectors = case.features[usable] / np.linalg.norm(case.features[usable], axis=1, keepdims=True).clip(1e-9)
    usual, found = usual_distance(plain, vectors), {}
    for start in range(0, len(usable), 256):
        block = slice(start, start + 256)
        distance = (1 - vectors[block] @ vectors.T) / usual
        for others, kind in ((plain, "near"), (mirrored, "mirrored")):
            bits = differing(plain[block], others)
            is_alike = (bits <= SURE) & (distance <= SURE_DISTANCE) | (bits <= CUT) & (
                distance <= CUT_DISTANCE
            )
            # each pair once
            for i, j in zip(
                *np.nonzero(np.triu(is_alike if case.config.pretrained else bits <= ALONE, start + 1))
            ):
                found.setdefault((int(usable[start + i]), int(usable[j])), kind)
    return [(a, b, kind) for (a, b), kind in sorted(found.items())]


def usual_distance(plain: np.ndarray, vectors: np.ndarray) -> float:
    """1 - cosine to the nearest image that could be no copy, in the middle of 2,000 images."""
    rows = np.random.default_rng(0).permutation(len(vectors))[:2000]
    alike = np.where(differing(plain[rows], plain) <= CUT, -1, vectors[rows] @ vectors.T)
    return max(float(np.median(1 - alike.max(axis=1))), 1e-6) if len(rows) else 1.0


def exact(case: Case) -> Iterator[Finding]:
    """Files with equal bytes."""
    yield from tell(
        case, exact_pairs(case), "copies", "have equal bytes", 'SET="dedupe=content", the default'
    )


def near(case: Case) -> Iterator[Finding]:
    """Copies with other bytes; writes groups.csv from both kinds."""
    pairs = near_pairs(case)
    yield from tell(
        case,
        pairs,
        "near-copies",
        "look the same",
        'SET="dedupe=group": the split then reads the groups.csv that this audit wrote',
    )
    write_groups(case, pd.concat([exact_pairs(case), pairs]))


def tell(case: Case, pairs: pd.DataFrame, name: str, what: str, together: str) -> Iterator[Finding]:
    """Pairs inside train, with differing labels, across folds, between train and test. together: what would
    keep them in one fold.
    """
    a, b = (case.images.iloc[pairs[side]].reset_index(drop=True) for side in ("a", "b"))
    inside = ((a["part"] == "train") & (b["part"] == "train")).to_numpy()
    tested = (a["part"] != b["part"]).to_numpy()
    differ = inside & (a["label"] != b["label"]).to_numpy() & (not case.has_values)
    torn = inside & (a["fold"] != b["fold"]).to_numpy()
    yield good(overview(case, pairs, name, what, inside, harmful=differ | torn | tested), check=name)
    if differ.any():
        told = [
            f"{x} ({own}) = {y} ({other})"
            for x, y, own, other in zip(
                a["id"][differ], b["id"][differ], a["label"][differ], b["label"][differ]
            )
        ]
        yield warn(
            f"{differ.sum()} pairs {what} and have different labels: {some(told)}",
            "one of each is wrong, or both: correct or leave them out by a make_table in src/competitions.py",
            f"{name}-labels",
        )
    if torn.any():
        share = len(set(pairs["a"][torn]) | set(pairs["b"][torn])) / len(case.table)
        seen = (
            f"{torn.sum()} pairs {what} and are in different folds ({share:.1%} of train): the OOF flatters"
        )
        yield (fail if share >= LEAK else warn)(seen, together, f"{name}-folds")
    if tested.any():
        told = [f"{x} = {y}" for x, y in zip(a["id"][tested], b["id"][tested])]
        yield warn(
            f"{tested.sum()} test images are in train too: {some(told)}",
            "the score on them is memory; their labels are known: are they meant to be there?",
            f"{name}-test",
        )


def overview(
    case: Case, pairs: pd.DataFrame, name: str, what: str, inside: np.ndarray, harmful: np.ndarray
) -> str:
    """How many pairs there are, and where they are drawn: those that harm first."""
    unread = (case.images["content"] == "").sum()
    unknown = f"; {unread} files were never read: make audit does" if unread else ""
    if not len(pairs):
        return f"no two images {what}{unknown}"
    kinds = ", ".join(f"{n} {kind}" for kind, n in pairs["kind"].value_counts().items())
    seen = f"{len(pairs)} pairs {what} ({kinds}), {inside.sum()} inside train{unknown}"
    if case.quick:
        return seen
    shown = pairs.iloc[np.argsort(~harmful, kind="stable")[:60]]
    return f"{seen}: {draw_sheet(case, name, [cell_of(case, *pair) for pair in shown.to_numpy()], columns=4)}"


def cell_of(case: Case, a: int, b: int, kind: str) -> Cell:
    def line(place: int) -> str:
        image = case.images.iloc[place]
        return (
            f"{image['id']}  {image['label']}  fold {image['fold']}"
            if image["part"] == "train"
            else f"{image['id']}  test"
        )

    return Cell((a, b), (f"{kind}  {line(a)}", f"= {line(b)}"))


def write_groups(case: Case, pairs: pd.DataFrame) -> None:
    """runs/<name>/groups.csv: id, group of the training images that have a copy among them. Removed where
    none has.
    """
    path, train = case.paths.root / "groups.csv", int(case.is_train.sum())
    inside = pairs[(pairs["a"] < train) & (pairs["b"] < train)].reset_index(drop=True)
    if not len(inside):
        return path.unlink(missing_ok=True)
    # a line per end of each pair: the pair links its two ends, the id links the pairs
    ends = pd.DataFrame(
        {"row": pd.concat([inside["a"], inside["b"]]), "group": [*inside.index, *inside.index]}
    ).reset_index(drop=True)
    ends["root"] = ends["row"].to_numpy()[join_groups(ends)]
    ends = ends.drop_duplicates("row").sort_values("row")
    ids = case.table["id"]
    table = pd.DataFrame({"id": ids.iloc[ends["row"]].to_numpy(), "group": ids.iloc[ends["root"]].to_numpy()})
    write_text(table.to_csv(index=False), path)


COPIES = {"copies": exact}
NEAR = {"near-copies": near}
