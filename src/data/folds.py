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
    by id, for fold_scheme=file. Raises ValueError.
    """
    scheme = config.fold_scheme
    if scheme not in SCHEMES:
        raise ValueError(
            f"fold_scheme {scheme!r} is unknown; choose from {', '.join(SCHEMES)}, or add it in"
            " src/data/folds.py"
        )
    # the order of the files on disk must not matter
    order = np.argsort(table["id"].to_numpy(dtype=object), kind="stable")
    ordered = table.iloc[order].reset_index(drop=True)
    ordered["group"] = join_groups(ordered)
    if scheme == "file":
        folds = SCHEMES[scheme](ordered, config, given)
    else:
        is_rare = are_rare(ordered, config.folds, task=task, targets=targets)
        part = ordered[~is_rare].reset_index(drop=True)
        folds = np.full(len(ordered), -1)
        folds[~is_rare] = SCHEMES[scheme](part, config, labels_of(part, task=task, targets=targets))
    check(ordered.assign(fold=folds), config, targets, task=task)
    in_order = np.empty_like(folds)
    in_order[order] = folds
    return pd.Series(in_order, index=table.index, name="fold")


def labels_of(table: pd.DataFrame, *, task: str, targets: tuple[str, ...]) -> pd.Series | pd.DataFrame:
    """What is to be spread evenly: a class per image, a column of bool per class, or of numbers the value
    where there are at most ten, else the tenth that it is in.
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
    """The image's place and the class's code for each class that an image has; and the classes' names."""
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
    is_rare = np.isin(group, held["group"][held["code"].isin(rare.index)])
    unit = "images" if table["group"].is_unique else "groups"
    if is_rare[image].all():  # of no labels too
        most = "there are no labels at all"
        if len(rare) < len(counts):
            most = f"each of the labelled has a label that is rarer, too, such as {names[rare.index[0]]!r}"
        elif len(counts):
            most = f"the most, {names[counts.idxmax()]!r}, has {counts.max()}"
        raise ValueError(
            f"no class with enough {unit} for folds={num_folds} ({most}): use fewer folds, add images, or"
            " join classes"
        )
    if len(rare):
        classes = listed([f"{names[code]!r} ({num})" for code, num in rare.items()])
        print(
            f"warning: in fewer {unit} than folds={num_folds}: {classes}. Their {is_rare.sum()} images are in"
            " fold -1: always trained, never scored",
            file=sys.stderr,
        )
    return is_rare


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
        if len(classes) == 1:  # usual, and in the same order without the product
            cost = in_fold[classes[0]]
        else:
            # how much the unevenness (sum of squared shares) grows; not a matrix product, whose rounding
            # differs between machines
            cost = ((own / total[classes] ** 2)[:, None] * in_fold[classes]).sum(axis=0)
        fold_of[g] = k = np.lexsort((load, cost))[0]
        in_fold[classes, k] += own
        load[k] += size[g]
    return shared_out(fold_of, of_group, of_class, config.folds)[group]


def shared_out(fold_of: np.ndarray, of_group: np.ndarray, of_class: np.ndarray, num_folds: int) -> np.ndarray:
    """The folds of the groups (G,), mended where a class of several groups has all of them in one, as a rare
    one of images with many labels may: one of them moves to another fold, or changes places with one there
    that holds a class that the move would tear. of_group, of_class: each pair of a group and its class.
    """
    held = np.zeros((of_class.max(initial=-1) + 1, num_folds), int)  # groups that hold a class, by fold
    np.add.at(held, (of_class, fold_of[of_group]), 1)
    for c in np.flatnonzero(is_torn(held)):
        moves = [[(g, k)] for g in of_group[of_class == c] for k in range(num_folds) if k != fold_of[g]]
        for [(g, k)] in list(moves):
            beside = of_group[np.isin(of_class, of_class[of_group == g])]
            moves += [[(g, k), (h, fold_of[g])] for h in np.unique(beside) if fold_of[h] == k]
        for changes in moves:
            new, folds = held.copy(), fold_of.copy()
            for g, k in changes:
                own = of_class[of_group == g]
                new[own, folds[g]] -= 1
                new[own, k] += 1
                folds[g] = k
            if is_torn(new).sum() < is_torn(held).sum() and len(np.unique(folds)) == num_folds:
                held, fold_of = new, folds
                break
    return fold_of


def is_torn(held: np.ndarray) -> np.ndarray:
    """(C,) of held (C, folds): has a class of several groups all of them in one fold?"""
    return ((held > 0).sum(axis=1) == 1) & (held.sum(axis=1) > 1)


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
    every training part. Raises ValueError.
    """
    ids, fold, numbers = table["id"], table["fold"], range(config.folds)
    problems = []
    if ids.duplicated().any():
        problems.append(f"{listed(ids[ids.duplicated()].tolist())} stands there twice")
    wrong = [f"fold {k} is empty" for k in numbers if not (fold == k).any()]
    wrong += [f"{id} is in none of them" for id in ids[~fold.isin([-1, *numbers])]]
    if wrong:
        problems.append(f"folds={config.folds}, but {listed(wrong)}")
    problems += torn_groups(table)
    if task not in NUMBERS:
        problems += unseen_classes(table, labels_of(table, task=task, targets=targets))
    if problems:
        raise ValueError("the folds do not hold: " + "; ".join(problems))


def torn_groups(table: pd.DataFrame) -> list[str]:
    """The first groups that are in several folds."""
    group = join_groups(table)
    num_folds = table["fold"].groupby(group).nunique(dropna=False)
    problems = []
    for number in num_folds.index[num_folds > 1][:3]:
        members = table[group == number].drop_duplicates("fold")
        images = listed([f"{id} (fold {k})" for id, k in zip(members["id"], members["fold"])])
        problems.append(f"{images} must be in one fold: they are of one row, one group or one content")
    return problems


def unseen_classes(table: pd.DataFrame, labels: pd.Series | pd.DataFrame) -> list[str]:
    """Classes that a fold's model never sees, since that fold holds all of their images."""
    image, code, names = pairs(labels)
    held = pd.DataFrame({"code": code, "fold": table["fold"].to_numpy()[image]}).drop_duplicates()
    alone = held[~held["code"].duplicated(keep=False) & (held["fold"] != -1)]
    if alone.empty:
        return []
    classes = listed([f"{names[code]!r} (fold {k})" for code, k in zip(alone["code"], alone["fold"])])
    return [
        f"a class is held out whole, that fold's model never sees it: {classes}; try another fold_seed, or"
        " put it in fold -1"
    ]


def of_host(table: pd.DataFrame) -> pd.DataFrame:
    """Without the images of external.csv, which folds.csv has in fold -1."""
    return table[table["external"] == ""] if "external" in table else table


def fold_hash(table: pd.DataFrame, targets: tuple[str, ...]) -> str:
    """Equal for equal folds of the host's images, labels and groups; only such predictions may be blended by
    fitting.
    """
    return hash_of(of_host(table).astype({"fold": int}), ["id", *targets, "group", "fold"])


def external_hash(table: pd.DataFrame, targets: tuple[str, ...]) -> str:
    """Of the images of external.csv, "" for none: they change the models, and not what may be compared and
    blended.
    """
    external = table.drop(of_host(table).index).astype({"fold": int})
    return hash_of(external, ["id", *targets, "group", "fold"]) if len(external) else ""


def features_hash(table: pd.DataFrame, features: tuple[str, ...]) -> str:
    """Of the extra columns that the head is given, "" for none."""
    return hash_of(table, ["id", *features]) if features else ""


def hash_of(table: pd.DataFrame, columns: list[str]) -> str:
    rows = table.sort_values("id")[columns].astype(str)
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
