"""Check of columns that look like a group (a patient, a site) which the folds tear apart."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.competition.host_tables import read_part
from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, fail, good, warn


def groups(data: Dataset) -> Iterator[Finding]:
    """Columns that look like a patient or a site, whose values are on both sides of the folds."""
    c = data.competition
    if c.group:
        yield good(f"group={c.group!r}: {data.table['group'].nunique()} groups, each in one fold")
        return
    if not c.suspects:
        yield good("no column looks like a group")
    rows = data.host_table.drop_duplicates("id").set_index("id").reindex(data.table["id"])
    for column in c.suspects:
        yield suspect(data, column, rows[column].to_numpy(), test_values(data, column))
    if not data.quick and not c.suspects and c.train_csv:
        # p07_2 and p07_3: two pictures of p07?
        stems = data.table["id"].str.replace(r"[_-][^_-]*$", "", regex=True)
        if stems.nunique() <= 0.8 * len(stems) and stems.nunique() > 2 * len(c.outputs):
            finding = suspect(data, "id up to its last _ or -", stems.to_numpy(), None)
            if finding.level == "FAIL":
                yield finding


def test_values(data: Dataset, column: str) -> set[str] | None:
    """The test's values of a column; None where it has no such column."""
    table = read_part(data.settings.folder, data.competition, "test")
    return set(table[column]) if column in table else None


def suspect(data: Dataset, column: str, values: np.ndarray, in_test: set[str] | None) -> Finding:
    """Do folds tear this column's values apart, does the test share them, are their images alike?"""
    known = pd.Series(values).replace("", np.nan)
    folds = data.table["fold"].groupby(known).nunique()
    torn = (folds > 1).sum()
    seen = f"{column!r}: {len(folds)} values, {torn} of them in several folds"
    state = f"state group={column!r} in src/competitions.py"
    change = f"if images of one {column!r} belong together, {state}"
    if not torn:
        return good(seen)
    if in_test is not None and len(in_test & set(known.dropna())) > 0.5 * len(in_test):
        return good(f"{seen}; the test has the same values, so the folds are like the test")
    if data.quick:
        return warn(seen, f"{change}; make audit measures whether they resemble each other")
    rate, chance = neighbours_alike(data, known)
    seen += (
        "; the most similar image of the same class has the same value in "
        f"{rate:.0%}, by chance in {chance:.0%}"
    )
    if rate > max(0.3, 3 * chance):
        return fail(f"{seen}: the folds leak, and the OOF score is too good", state)
    return warn(seen, change)


def neighbours_alike(data: Dataset, values: pd.Series) -> tuple[float, float]:
    """How often the most similar image of a class has the same value, and how often by chance."""

    def measure() -> list[float]:
        vectors = data.features[data.is_train] - data.features[data.is_train].mean(axis=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
        codes, same, chance = pd.factorize(values)[0], [], []
        for rows in data.strata.groupby(data.strata).indices.values():
            rows = np.random.default_rng(0).permutation(rows[codes[rows] >= 0])[:3000]
            if len(rows) < 3:
                continue
            similarity = vectors[rows] @ vectors[rows].T - 2 * np.eye(len(rows))
            code = codes[rows]
            size = np.bincount(code)[code]
            has_other = size > 1  # a value that occurs once has no equal
            same += (code[similarity.argmax(axis=1)] == code)[has_other].tolist()
            chance += ((size - 1) / (len(rows) - 1))[has_other].tolist()
        return [float(np.mean(same or [0])), float(np.mean(chance or [0]))]

    key = [data.features_key, values.fillna("").tolist(), data.labels.tolist()]
    rate, chance = data.cached("kinship", key, measure)
    return rate, chance


GROUPS = {"groups": groups}
