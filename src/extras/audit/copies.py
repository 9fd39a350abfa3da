"""Checks for the same picture twice: equal files, and copies that were resized, compressed anew, brightened
or mirrored. -> groups.csv, sheets
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from src.competition.groups import join_groups
from src.data.looks import ALONE, differing, signs
from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, count, fail, good, some, warn
from src.run.files import write_text

LEAK = 0.02  # of the training images with a copy in another fold: from here on the OOF is not to be trusted
# Two pictures are copies when their hashes differ in at most so many bits and their features are at most so
# far apart, in units of the usual distance to a nearest neighbour; by the first pair or by the second.
# Measured: of 50 photographs, copies at half the size, JPEG quality 20 or mirrored differ in 2 to 8 bits at
# 0.04 to 0.4 units, grey ones at 0.6, cut by 5 % in 46 bits at 0.1 to 0.2 (82 % are found). The nearest
# strangers among 3,781 photographs differ in 40 bits, among 5,000 digits (the 1s!) in 20 at 1.5 units.
SURE, SURE_DISTANCE = 20, 1.0
CUT, CUT_DISTANCE = 64, 0.17


def exact_pairs(data: Dataset) -> pd.DataFrame:
    """Each image beside the next one with equal bytes: a, b (places in data.images), kind."""
    content = data.images["content"]
    known = content[(content != "") & ~content.str.startswith("unreadable") & (data.images["bytes"] > 0)]
    rows = [
        pair for places in known.groupby(known).indices.values() for pair in pairwise(known.index[places])
    ]
    return pd.DataFrame(sorted(rows), columns=["a", "b"], dtype=int).assign(kind="equal")


def near_pairs(data: Dataset) -> pd.DataFrame:
    """Pairs that look the same, though their bytes differ: a, b, kind."""
    rows = data.cached("near", data.features_key, lambda: look_alikes(data))
    return pd.DataFrame(rows, columns=["a", "b", "kind"])


def look_alikes(data: Dataset) -> list[tuple[int, int, str]]:
    """(a, b, near or mirrored): alike by their hashes, and by the backbone. A picture of one colour resembles
    everything and is left out; one that is its own mirror image counts as a plain copy.
    """
    has_shape = (data.number("spread") > 2).to_numpy()
    is_first = ~data.images["content"].duplicated().to_numpy()
    usable = np.flatnonzero(data.is_readable & has_shape & is_first)
    plain, mirrored = (signs(data.facts[name].iloc[usable]) for name in ("looks", "mirrored"))
    vectors = data.features[usable] / np.linalg.norm(data.features[usable], axis=1, keepdims=True).clip(1e-9)
    usual = usual_distance(plain, vectors)
    kinds: dict[tuple[int, int], str] = {}
    for start in range(0, len(usable), 256):
        block = slice(start, start + 256)
        distance = (1 - vectors[block] @ vectors.T) / usual
        for hashes, kind in ((plain, "near"), (mirrored, "mirrored")):
            bits = differing(plain[block], hashes)
            if data.config.pretrained:
                is_copy = (bits <= SURE) & (distance <= SURE_DISTANCE)
                is_copy |= (bits <= CUT) & (distance <= CUT_DISTANCE)
            else:  # random features say nothing
                is_copy = bits <= ALONE
            for i, j in zip(*np.nonzero(np.triu(is_copy, start + 1))):  # each pair once
                kinds.setdefault((int(usable[start + i]), int(usable[j])), kind)
    return [(a, b, kind) for (a, b), kind in sorted(kinds.items())]


def usual_distance(plain: np.ndarray, vectors: np.ndarray) -> float:
    """1 - cosine to the nearest image that can't be a copy, the median of 2,000 images."""
    rows = np.random.default_rng(0).permutation(len(vectors))[:2000]
    similarity = np.where(differing(plain[rows], plain) <= CUT, -1, vectors[rows] @ vectors.T)
    return max(float(np.median(1 - similarity.max(axis=1))), 1e-6) if len(rows) else 1.0


def exact(data: Dataset) -> Iterator[Finding]:
    """Files with equal bytes."""
    change = 'SET="dedupe=content", the default, keeps them in one fold'
    yield from report(data, exact_pairs(data), "copies", "equal files", change)


def near(data: Dataset) -> Iterator[Finding]:
    """Copies with other bytes; writes groups.csv from both kinds."""
    pairs = near_pairs(data)
    change = (
        'SET="dedupe=group" keeps them in one fold: the split then reads the groups.csv that this audit wrote'
    )
    yield from report(data, pairs, "near-copies", "images that look the same", change)
    write_groups(data, pd.concat([exact_pairs(data), pairs]))


def report(data: Dataset, pairs: pd.DataFrame, name: str, kind: str, together: str) -> Iterator[Finding]:
    """Pairs inside train, with differing labels, across folds, between train and test. kind: what a pair
    is made of; together: what would keep it in one fold.
    """
    a, b = (data.images.iloc[pairs[side]].reset_index(drop=True) for side in ("a", "b"))
    inside = ((a["part"] == "train") & (b["part"] == "train")).to_numpy()
    across = (a["part"] != b["part"]).to_numpy()
    contradict = inside & (a["label"] != b["label"]).to_numpy() & (not data.has_values)
    torn = inside & (a["fold"] != b["fold"]).to_numpy()
    yield good(overview(data, pairs, name, kind, inside, contradict | torn | across), check=name)
    both = pd.DataFrame({"a": a["id"], "b": b["id"], "label_a": a["label"], "label_b": b["label"]})
    if contradict.any():
        texts = [f"{p.a} ({p.label_a}) = {p.b} ({p.label_b})" for p in both[contradict].itertuples()]
        yield warn(
            f"{count(contradict.sum(), 'pair')} of {kind} with different labels: {some(texts)}",
            "one label of each pair is wrong: correct it or drop both, by make_table in src/competitions.py",
            f"{name}-labels",
        )
    if torn.any():
        share = len({*pairs["a"][torn], *pairs["b"][torn]}) / len(data.table)
        where = f"in different folds ({share:.1%} of train)"
        seen = f"{count(torn.sum(), 'pair')} of {kind} {where}: the OOF score is too good"
        level = fail if share >= LEAK else warn
        yield level(seen, together, f"{name}-folds")
    if across.any():
        texts = [f"{p.a} = {p.b}" for p in both[across].itertuples()]
        yield warn(
            f"{count(across.sum(), 'test image')} also in train: {some(texts)}",
            "a good score on them shows memory; their labels are known: ask the host whether that is meant",
            f"{name}-test",
        )


def overview(
    data: Dataset, pairs: pd.DataFrame, name: str, kind: str, inside: np.ndarray, harmful: np.ndarray
) -> str:
    """How many pairs there are, and the sheet that shows them: those that harm first."""
    num_unread = (data.images["content"] == "").sum()
    unread = f"; {num_unread} files were never read: make audit reads them" if num_unread else ""
    if not len(pairs):
        return f"no {kind}{unread}"
    kinds = ", ".join(f"{n} {kind}" for kind, n in pairs["kind"].value_counts().items())
    seen = f"{count(len(pairs), 'pair')} of {kind} ({kinds}), {inside.sum()} inside train{unread}"
    if data.quick:
        return seen
    shown = pairs.iloc[np.argsort(~harmful, kind="stable")[:60]]
    cells = [
        ([p.a, p.b], [f"{p.kind}: {title(data, p.a)}", f"= {title(data, p.b)}"]) for p in shown.itertuples()
    ]
    return f"{seen}: {data.draw_sheet(name, cells, columns=4)}"


def title(data: Dataset, place: int) -> str:
    image = data.images.iloc[place]
    if image["part"] == "test":
        return f"{image['id']}, test"
    return f"{image['id']}, {image['label']}, fold {image['fold']}"


def write_groups(data: Dataset, pairs: pd.DataFrame) -> None:
    """groups.csv: id, group of the training images with a copy among them. Removed where none has one."""
    path, train = data.paths.root / "groups.csv", int(data.is_train.sum())
    inside = pairs[(pairs["a"] < train) & (pairs["b"] < train)].reset_index(drop=True)
    if not len(inside):
        path.unlink(missing_ok=True)
        return
    # a line per end of each pair: the pair links its two ends, the row links the pairs
    rows = pd.concat([inside["a"], inside["b"]])
    ends = pd.DataFrame({"row": rows, "group": rows.index}).reset_index(drop=True)
    ends["root"] = ends["row"].to_numpy()[join_groups(ends)]
    ends = ends.drop_duplicates("row").sort_values("row")
    ids = data.table["id"]
    table = pd.DataFrame({"id": ids.iloc[ends["row"]].to_numpy(), "group": ids.iloc[ends["root"]].to_numpy()})
    write_text(table.to_csv(index=False), path)


COPIES = {"copies": exact}
NEAR_COPIES = {"near-copies": near}
