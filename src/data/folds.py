"""Which fold each image is held out in. No group is ever in two folds, whatever the scheme; fold -1 always
trains and is never scored.
"""

import hashlib
import json
import sys

import numpy as np
import pandas as pd

from src.competition.facts import NUMBERS
from src.competition.groups import join_groups
from src.competition.tables import joined, listed


def assign(
    table: pd.DataFrame, config, *, task: str, targets: tuple[str, ...], given: pd.Series | None = None
) -> pd.Series:
    """A fold for each image, checked, aligned with table.index. `given`: the folds of a hand-made folds.csv
    by id, for fold_scheme=file.
    """
    if config.fold_scheme not in SCHEMES:
        raise ValueError(
            f"fold_scheme {config.fold_scheme!r} is unknown; choose from {', '.join(SCHEMES)}, or add it in"
            " src/data/folds.py"
        )
    # the order of the files on disk must not matter
    order = np.argsort(table["id"].to_numpy(dtype=object), kind="stable")
    ordered = table.iloc[order].reset_index(drop=True)
    ordered["group"] = join_groups(ordered)
    by_hand = config.fold_scheme == "file"
    kept = (
        np.ones(len(ordered), bool)
        if by_hand
        else ~are_rare(ordered, config.folds, task=task, targets=targets)
    )
    part = ordered[kept].reset_index(drop=True)
    folds = np.full(len(ordered), -1)
    folds[kept] = SCHEMES[config.fold_scheme](
        part, config, given if by_hand else labels_of(part, task=task, targets=targets)
    )
    check(ordered.assign(fold=folds), config, targets, task=task)
    folds[order] = folds.copy()
    return pd.Series(folds, index=table.index, name="fold")


def labels_of(table: pd.DataFrame, *, task: str, targets: tuple[str, ...]) -> pd.Series | pd.DataFrame:
    """What is to be spread evenly: a class per image, or a column of bool per class, or (regression) the
    value where there are at most ten of them, else the tenth that it is in.
    """
    columns = table[list(targets)]
    if task == "multilabel":
        return columns == "1"
    if task in NUMBERS:
        values = columns.astype(float)
        if len(values.drop_duplicates()) <= 10:
            return values.groupby(list(targets)).ngroup()
        return pd.qcut(values.rank().mean(axis=1), 10, labels=False, duplicates="drop").fillna(0).astype(int)
    return joined(table, targets)


def pairs(labels: pd.Series | pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Position of the image and code of the class, for each class that an image holds; and the classes'
    names.
    """
    if isinstance(labels, pd.DataFrame):
        return *np.nonzero(labels.to_numpy()), list(labels.columns)
    codes, names = pd.factorize(labels, sort=True)
    return np.arange(len(labels)), codes, list(names)


def are_rare(table: pd.DataFrame, num_folds: int, *, task: str, targets: tuple[str, ...]) -> np.ndarray:
    """True for the images whose group holds a class that fewer groups hold than there are folds; names these
    classes.
    """
    if task in NUMBERS:
        return np.zeros(len(table), bool)
    image, code, names = pairs(labels_of(table, task=task, targets=targets))
    group = table["group"].to_numpy()
    held = pd.DataFrame({"code": code, "group": group[image]}).drop_duplicates()
    # groups, not images: ten photographs of one patient cannot be shared out
    counts = held["code"].value_counts().sort_index()
    rare = counts[counts < num_folds]
    unit = "images" if table["group"].is_unique else "groups"
    if len(rare) == len(counts):
        most = (
            f"the most, {names[counts.idxmax()]!r}, has {counts.max()}"
            if len(counts)
            else "there are no labels at all"
        )
        raise ValueError(
            f"no class with enough {unit} for folds={num_folds} ({most}): use fewer folds, add images, or"
            " join classes"
        )
    chosen = np.isin(group, held["group"][held["code"].isin(rare.index)])
    if len(rare):
        told = listed([f"{names[c]!r} ({n})" for c, n in rare.items()])
        print(
            f"warning: in fewer {unit} than folds={num_folds}: {told}. Their {chosen.sum()} images are in"
            " fold -1: always trained, never scored",
            file=sys.stderr,
        )
    return chosen


def stratified(table: pd.DataFrame, config, labels: pd.Series | pd.DataFrame) -> np.ndarray:
    """Whole groups, the heaviest first, each to the fold with least of its classes (a rare one counts most),
    then to the smallest fold.

    Single images are dealt out class by class; many labels make it iterative stratification (Sechidis et al.
    2011). Where groups are large and mixed it is on average as even as scikit-learn's StratifiedGroupKFold;
    no fold is empty; 100,000 groups take 1 s instead of 26 s.
    """
    group = pd.factorize(table["group"])[0]
    image, code, names = pairs(labels)
    # each (group, class) once, sorted by group
    held, count = np.unique(group[image] * len(names) + code, return_counts=True)
    total = np.bincount(code, minlength=len(names))
    of_group, of_class = held // len(names), held % len(names)
    size = np.bincount(group)
    starts = np.searchsorted(of_group, np.arange(len(size) + 1))
    weight = np.bincount(of_group, weights=count / total[of_class], minlength=len(size))
    shuffled = np.random.default_rng(config.fold_seed).permutation(len(size))
    in_fold, load = np.zeros((len(names), config.folds)), np.zeros(config.folds)
    fold_of = np.zeros(len(size), int)
    # alike classes one after another: mixed, they could end two images apart
    first = of_class[starts[:-1].clip(max=len(of_class) - 1)]
    for g in np.lexsort((shuffled, first, -size, -weight)):
        own, classes = count[starts[g] : starts[g + 1]], of_class[starts[g] : starts[g + 1]]
        # how much the unevenness (sum of squared shares) grows; not a matrix product, whose rounding differs
        # between machines
        cost = ((own / total[classes] ** 2)[:, None] * in_fold[classes]).sum(axis=0)
        fold_of[g] = k = np.lexsort((load, cost))[0]
        in_fold[classes, k] += own
        load[k] += size[g]
    return fold_of[group]


def by_size(table: pd.DataFrame, config, labels) -> np.ndarray:
    """Whole groups at random, the folds of equal size; labels do not matter."""
    return stratified(table, config, pd.Series("any", index=table.index))


def from_file(table: pd.DataFrame, config, given: pd.Series | None) -> np.ndarray:
    """The folds of a hand-made folds.csv; it may hold other images too."""
    if given is None:
        raise ValueError(
            "fold_scheme=file needs folds.csv with the columns id and fold beside the competition's files"
        )
    if given.index.has_duplicates:
        raise ValueError(f"folds.csv has {listed(given.index[given.index.duplicated()].tolist())} twice")
    folds = pd.to_numeric(given.reindex(table["id"]), errors="coerce")
    wrong = folds.index[~(folds % 1 == 0)].tolist()
    if wrong:
        raise ValueError(f"folds.csv has no whole number as the fold of {len(wrong)} images: {listed(wrong)}")
    return folds.to_numpy(dtype=int)


def check(table: pd.DataFrame, config, targets: tuple[str, ...], *, task: str) -> None:
    """What folds.csv promises, all at once: an image once, a group in one fold, no fold empty, each class in
    every training part.
    """
    ids, fold, numbers, problems = table["id"], table["fold"], range(config.folds), []
    if ids.duplicated().any():
        problems.append(f"{listed(ids[ids.duplicated()].tolist())} stands there twice")
    outside = ids[~fold.isin([-1, *numbers])].tolist()
    empty = [str(k) for k in numbers if not (fold == k).any()]
    if outside or empty:
        wrong = [f"fold {k} is empty" for k in empty] + [f"{i} is in none of them" for i in outside]
        problems.append(f"folds={config.folds}, but {listed(wrong)}")
    group = join_groups(table)
    torn = fold.groupby(group).nunique(dropna=False)
    for number in torn.index[torn > 1][:3]:
        members = table[group == number].drop_duplicates("fold")
        parts = listed([f"{i} (fold {k})" for i, k in zip(members["id"], members["fold"])])
        problems.append(f"{parts} must be in one fold: they are of one row, one group or one content")
    image, code, names = pairs(labels_of(table, task=task, targets=targets))
    where = pd.DataFrame({"code": code, "fold": fold.to_numpy()[image]}).drop_duplicates()
    alone = where[~where["code"].duplicated(keep=False) & (where["fold"] != -1)]
    if len(alone) and task not in NUMBERS:
        told = listed([f"{names[c]!r} (fold {k})" for c, k in zip(alone["code"], alone["fold"])])
        problems.append(
            f"a class is held out whole, that fold's model never sees it: {told}; try another fold_seed, or"
            " put it in fold -1"
        )
    if problems:
        raise ValueError("the folds do not hold: " + "; ".join(problems))


def of_host(table: pd.DataFrame) -> pd.DataFrame:
    """Without the images of external.csv, which folds.csv has in fold -1."""
    return table[table["external"] == ""] if "external" in table else table


def fold_hash(table: pd.DataFrame, targets: tuple[str, ...]) -> str:
    """Equal for equal folds of the host's images, labels and groups; only such predictions may be blended by
    fitting.
    """
    return hash_of(of_host(table), targets)


def external_hash(table: pd.DataFrame, targets: tuple[str, ...]) -> str:
    """Of the images of external.csv, "" for none: they change the models, and not what may be compared and
    blended.
    """
    external = table.drop(of_host(table).index)
    return hash_of(external, targets) if len(external) else ""


def features_hash(table: pd.DataFrame, features: tuple[str, ...]) -> str:
    """Of the extra columns that the head is given, "" for none."""
    if not features:
        return ""
    rows = table.sort_values("id")[["id", *features]].astype(str)
    return hashlib.sha256(json.dumps(rows.to_numpy().tolist()).encode()).hexdigest()[:16]


def hash_of(table: pd.DataFrame, targets: tuple[str, ...]) -> str:
    rows = table.sort_values("id")[["id", *targets, "group", "fold"]].astype({"fold": int}).astype(str)
    return hashlib.sha256(json.dumps(rows.to_numpy().tolist()).encode()).hexdigest()[:16]


# All keep groups whole (without a group column a group is one row) and see several labels: `stratified`
# serves four names.
# Add yours: a function (table, config, labels) -> a fold per line of the table, and a word here.
SCHEMES = {
    "auto": stratified,
    "stratified": stratified,
    "stratified_group": stratified,
    "multilabel": stratified,
    "group": by_size,
    "random": by_size,
    "file": from_file,
}
