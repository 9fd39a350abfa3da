"""Checks whether something beside the picture tells the label: the order of ids and lines, the size of the
picture, the file itself.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import answers
from src.extras.audit.case import Case
from src.extras.findings import Finding, good, warn
from src.run import predictions

MUCH = 0.3  # of the way from chance to certainty


def classes_of(case: Case) -> pd.Series:
    """What is to be told: the class, or the fifth in which the number is; "" throughout where images have
    several labels.
    """
    if case.has_values:
        return pd.qcut(pd.Series(case.target[:, 0]).rank(method="first"), 5, labels=False).astype(str)
    return case.kinds


def agreement(labels: pd.Series, groups: pd.Series) -> tuple[float, float, bool]:
    """How often neighbours in this order have the same label, how often they would by chance, and whether
    that is too often.

    Neighbours of one group are not counted: a patient's pictures may well stand together.
    """
    strangers = groups.to_numpy()[1:] != groups.to_numpy()[:-1]
    same = (labels.to_numpy()[1:] == labels.to_numpy()[:-1])[strangers]
    chance = float(np.square(labels.value_counts(normalize=True)).sum())
    if len(same) < 20 or chance > 0.99:
        return 0.0, chance, False
    rate = float(same.mean())
    error = np.sqrt(chance * (1 - chance) / len(same))
    return rate, chance, bool((rate - chance) / (1 - chance) > MUCH and rate > chance + 5 * error)


def order(case: Case) -> Iterator[Finding]:
    """The order of the ids, of the csv's lines, and of the sample's rows (by a run's own predictions)."""
    labels, table = classes_of(case), case.table
    if not case.competition.train_csv:
        yield good("the labels are read from the images' names")
    else:
        by_id = (
            table["id"]
            .str.replace(r"\d+", lambda number: number.group().zfill(20), regex=True)
            .sort_values()
            .index
        )
        rate, chance, is_told = agreement(labels[by_id], table["group"][by_id])
        seen = f"neighbours by id have the same label in {rate:.0%}, by chance in {chance:.0%}"
        if is_told:
            yield warn(
                seen,
                "series of one scene? Then state their group in src/competitions.py. "
                "If the test's ids run on in this order, they tell the label",
            )
        else:
            place = pd.Series(range(len(case.frame)), index=case.frame["id"]).reindex(table["id"]).to_numpy()
            in_file = np.argsort(place, kind="stable")
            rate, _, is_told = agreement(labels.iloc[in_file], table["group"].iloc[in_file])
            sorted_csv = (
                f"; {case.competition.train_csv} is sorted by label, which does no harm" if is_told else ""
            )
            yield good(f"{seen}{sorted_csv}")
    if case.is_single and case.paths.test.exists():
        yield from sample_order(case)


def sample_order(case: Case) -> Iterator[Finding]:
    """Do the predictions of the test, in the order of the sample, come in blocks? Then the rows' order tells
    the label.
    """
    rows = answers.sample(case.settings.folder, case.competition).iloc[:, 0]
    pooled = predictions.pool(predictions.read(case.paths.test), case.test.set_index("id")["row"], "mean")
    said = pooled.idxmax(axis=1).reindex(rows).dropna()
    rate, chance, is_told = agreement(said, pd.Series(said.index))
    if is_told:
        yield warn(
            f"neighbours in the sample are predicted alike in {rate:.0%}, by chance in {chance:.0%}: its"
            " order tells the label",
            "smooth the predictions over neighbours if the rules allow it, and don't trust a gain that comes"
            " from it",
            "sample-order",
        )


def skill(features: pd.DataFrame, labels: pd.Series, fold: pd.Series) -> float:
    """Of the way from chance to certainty, how far a small tree comes on held-out images: balanced accuracy,
    so large classes don't help.
    """
    from sklearn.metrics import recall_score
    from sklearn.tree import DecisionTreeClassifier

    counts = labels.value_counts()
    usable = (features.notna().all(axis=1) & (fold >= 0) & labels.isin(counts.index[counts >= 5])).to_numpy()
    features, labels, fold = features[usable].to_numpy(), labels[usable].to_numpy(), fold[usable].to_numpy()
    num = len(set(labels))
    if num < 2 or len(set(fold)) < 2:
        return 0.0
    said = np.empty(len(labels), dtype=object)
    for k in set(fold):
        tree = DecisionTreeClassifier(
            max_leaf_nodes=8 * num, min_samples_leaf=3, class_weight="balanced", random_state=0
        )
        said[fold == k] = tree.fit(features[fold != k], labels[fold != k]).predict(features[fold == k])
    right = recall_score(labels.astype(str), said.astype(str), average="macro", zero_division=0)
    return float((right - 1 / num) / (1 - 1 / num))


def sizes(case: Case) -> Iterator[Finding]:
    """Do width and height, or the file's bytes and format, tell the label? Of the bytes, what an equal
    packing of all pictures tells is honest.
    """
    facts, images = case.facts, case.images
    wide, high = (pd.to_numeric(facts[name]) for name in ("width", "height"))
    suffixes = images["path"].map(lambda path: Path(path).suffix)
    codes = {
        name: pd.factorize(values)[0]
        for name, values in (("format", facts["format"]), ("mode", facts["mode"]), ("suffix", suffixes))
    }
    told_by = {
        "picture's size": {"width": wide, "height": high, "aspect": wide / high},
        "file's bytes and format": {
            "bytes": images["bytes"],
            "density": images["bytes"] / (wide * high),
            **codes,
        },
        "content": {"packed": pd.to_numeric(facts["packed"])},
    }
    labels, fold = classes_of(case), case.table["fold"]

    def make() -> list[float]:
        return [
            skill(pd.DataFrame(columns)[case.is_train].reset_index(drop=True), labels, fold)
            for columns in told_by.values()
        ]

    key = [images["content"].tolist(), images["path"].tolist(), labels.tolist(), fold.tolist()]
    size, file, content = case.kept("shortcuts", key, make)
    found = {"picture's size": size, "file's bytes and format": file - max(content, 0.0)}
    num = labels.nunique()
    # of that share, for a tree that knows nothing
    error = np.sqrt(1 / max(num - 1, 1) / len(labels))
    warned = [what for what, share in found.items() if share > max(MUCH, 4 * error)]
    for what in warned:
        yield warn(
            f"the {what} tell the label, {found[what]:.0%} of the way from chance to certainty",
            "do the classes come from different sources? A network may learn the source: compare pictures of"
            " both, and even them out in read_image (resize, compress alike); where the test has the same, it"
            " is an honest feature",
        )
    if not warned:
        told = ", ".join(f"{what} {max(share, 0):.0%}" for what, share in found.items())
        yield good(f"of the way from chance to certainty, the label is told by: {told}")


SHORTCUTS = {"order": order}
SIZES = {"file-tells-label": sizes}
