"""Checks whether something beside the picture tells the label: the order of ids and lines, the size of the
picture, the file itself.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import answers
from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, good, warn
from src.run import predictions

MUCH = 0.3  # of the way from chance to certainty


def classes_of(data: Dataset) -> pd.Series:
    """The class, or the fifth in which the number is; "" throughout where images have several labels."""
    if data.has_values:
        return pd.qcut(pd.Series(data.target[:, 0]).rank(method="first"), 5, labels=False).astype(str)
    return data.strata


def agreement(labels: pd.Series, groups: pd.Series) -> tuple[float, float, bool]:
    """How often neighbours in this order have the same label, how often they would by chance, and whether
    that is too often.

    Neighbours of one group are not counted: a patient's pictures may well stand together.
    """
    labels, groups = labels.to_numpy(), groups.to_numpy()
    same = (labels[1:] == labels[:-1])[groups[1:] != groups[:-1]]
    chance = float(np.square(pd.Series(labels).value_counts(normalize=True)).sum())
    if len(same) < 20 or chance > 0.99:
        return 0.0, chance, False
    rate = float(same.mean())
    error = np.sqrt(chance * (1 - chance) / len(same))
    return rate, chance, bool((rate - chance) / (1 - chance) > MUCH and rate > chance + 5 * error)


def order(data: Dataset) -> Iterator[Finding]:
    """The order of the ids, of the csv's lines, and of the sample's rows (by a run's own predictions)."""
    if data.competition.train_csv or data.competition.make_table:
        yield train_order(data)
    else:
        yield good("the labels are read from the images' names")
    if data.is_single and data.paths.test.exists():
        yield from sample_order(data)


def train_order(data: Dataset) -> Finding:
    """Do neighbours by id, or in the csv, have the same label?"""
    labels, table = classes_of(data), data.table
    natural = table["id"].str.replace(r"\d+", lambda digits: digits.group().zfill(20), regex=True)
    by_id = natural.sort_values().index
    rate, chance, is_sorted = agreement(labels[by_id], table["group"][by_id])
    seen = f"neighbours by id have the same label in {rate:.0%}, by chance in {chance:.0%}"
    if is_sorted:
        return warn(
            seen,
            "if they are series of one scene, state their group in src/competitions.py; if the test's ids"
            " continue this order, they tell the label",
        )
    place = (
        pd.Series(range(len(data.host_table)), index=data.host_table["id"]).reindex(table["id"]).to_numpy()
    )
    in_file = np.argsort(place, kind="stable")
    _, _, is_sorted = agreement(labels.iloc[in_file], table["group"].iloc[in_file])
    table_is = f"{data.competition.train_csv or 'the table'} is"
    return good(f"{seen}; {table_is} sorted by label, which is harmless" if is_sorted else seen)


def sample_order(data: Dataset) -> Iterator[Finding]:
    """Do predictions, in the order of the sample, come in blocks? Then the rows' order tells the label."""
    rows = answers.sample(data.settings.folder, data.competition).iloc[:, 0]
    by_row = predictions.pool(predictions.read(data.paths.test), data.test.set_index("id")["row"], "mean")
    labels = by_row.idxmax(axis=1).reindex(rows).dropna()
    rate, chance, is_sorted = agreement(labels, pd.Series(labels.index))
    if is_sorted:
        rates = f"in {rate:.0%}, by chance in {chance:.0%}"
        yield warn(
            f"neighbours in the sample get the same label {rates}: its order tells the label",
            "smooth the predictions over neighbours if the rules allow it; distrust a gain from it",
            "sample-order",
        )


def tree_skill(features: pd.DataFrame, labels: pd.Series, fold: pd.Series) -> float:
    """Balanced accuracy of a small tree on held-out images, from 0 (chance) to 1 (certainty)."""
    from sklearn.metrics import recall_score
    from sklearn.tree import DecisionTreeClassifier

    counts = labels.value_counts()
    usable = (features.notna().all(axis=1) & (fold >= 0) & labels.isin(counts.index[counts >= 5])).to_numpy()
    x, y, k = features[usable].to_numpy(), labels[usable].to_numpy(), fold[usable].to_numpy()
    num_classes = len(set(y))
    if num_classes < 2 or len(set(k)) < 2:
        return 0.0
    tree = DecisionTreeClassifier(
        max_leaf_nodes=8 * num_classes, min_samples_leaf=3, class_weight="balanced", random_state=0
    )
    predicted = np.empty(len(y), dtype=object)
    for one in set(k):
        predicted[k == one] = tree.fit(x[k != one], y[k != one]).predict(x[k == one])
    recall = recall_score(y.astype(str), predicted.astype(str), average="macro", zero_division=0)
    return float((recall - 1 / num_classes) / (1 - 1 / num_classes))


def columns_by_source(data: Dataset) -> dict[str, dict]:
    """What may tell the label: source -> columns (N,)."""
    facts, images, width, height = data.facts, data.images, data.number("width"), data.number("height")
    suffix = images["path"].map(lambda path: Path(path).suffix)
    names = {"format": facts["format"], "mode": facts["mode"], "suffix": suffix}
    codes = {name: pd.factorize(values)[0] for name, values in names.items()}
    density = images["bytes"] / (width * height)
    return {
        "picture's size": {"width": width, "height": height, "aspect": width / height},
        "file's bytes and format": {"bytes": images["bytes"], "density": density, **codes},
        "content": {"packed": data.number("packed")},
    }


def file_tells_label(data: Dataset) -> Iterator[Finding]:
    """Does the picture's size or the file tell the label, more than an equal compression of all would?"""
    images, labels, fold = data.images, classes_of(data), data.table["fold"]

    def measure() -> list[float]:
        tables = [pd.DataFrame(columns)[data.is_train] for columns in columns_by_source(data).values()]
        return [tree_skill(table.reset_index(drop=True), labels, fold) for table in tables]

    key = [images["content"].tolist(), images["path"].tolist(), labels.tolist(), fold.tolist()]
    size, file, content = data.cached("shortcuts", key, measure)
    skills = {"picture's size": size, "file's bytes and format": file - max(content, 0.0)}
    error = np.sqrt(
        1 / max(labels.nunique() - 1, 1) / len(labels)
    )  # of the skill of a tree that knows nothing
    suspects = [source for source, skill in skills.items() if skill > max(MUCH, 4 * error)]
    for source in suspects:
        yield warn(
            f"the {source} tell the label, {skills[source]:.0%} of the way from chance to certainty",
            "if the classes come from different sources, a network may learn the source: compare pictures of"
            " both, and make them alike in a read_image in src/competitions.py (same size, same"
            " compression); if the test has the same difference, it is an honest feature",
        )
    if not suspects:
        texts = ", ".join(f"{source} {max(skill, 0):.0%}" for source, skill in skills.items())
        yield good(f"what tells the label, of the way from chance to certainty: {texts}")


ORDER = {"order": order}
FILE_SHORTCUTS = {"file-tells-label": file_tells_label}
