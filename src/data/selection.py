"""The images that a run uses: those that can be read, and `limit` of them for a first look."""

import sys

import numpy as np
import pandas as pd

from src.competition.facts import NUMBERS
from src.competition.tables import joined
from src.data.images import Records, find_unreadable
from src.data.run import Run


def select(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The readable images of the table, `limit` of them at most."""
    return limited(readable(table, run), run)


def readable(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The table without the images that can't be read, for bad_images=drop; each is named. Otherwise the
    train stage refuses them.
    """
    if run.config.bad_images != "drop":
        return table
    bad = find_unreadable(
        Records(table, run.inputs),
        read_image=run.competition.read_image,
        max_pixels=run.competition.max_pixels,
        workers=run.machine.num_threads,
    )
    for problem in bad.values():
        print(f"warning: left out, {problem}", file=sys.stderr)
    return table[~table["id"].isin(bad)].reset_index(drop=True)


def limited(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """`limit` images: of each class one per fold, as long as that lasts, then the same share of
    each class.
    """
    limit = run.config.limit
    if not limit or limit >= len(table):
        return table
    if run.competition.task in NUMBERS:
        labels = pd.Series("", index=table.index)
    else:
        labels = joined(table, run.competition.targets)
    labels = labels.iloc[np.random.default_rng(0).permutation(len(table))]
    rank = labels.groupby(labels).cumcount()  # of the image within its class, from 0
    share = rank / labels.map(labels.value_counts())
    is_first = rank < run.config.folds
    order = share.mask(is_first, labels.rank(method="dense") / len(table) - 2)
    chosen = order.sort_values(kind="stable").index[:limit]
    return table.loc[chosen].sort_values("id", kind="stable").reset_index(drop=True)
