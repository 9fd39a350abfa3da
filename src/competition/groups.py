"""Which images belong together."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def join_groups(table: pd.DataFrame, pairs: Iterable[tuple[int, int]] = ()) -> np.ndarray:
    """A number per image (N,): the place of the first image that one row, one group, one content or a pair of
    places links with it, however long the chain.
    """
    from scipy.sparse import coo_array  # here, since importing it takes as long as pandas
    from scipy.sparse.csgraph import connected_components

    places = np.arange(len(table))
    links = [np.array([*pairs], dtype=int).reshape(-1, 2)]
    for column in table.columns.intersection(["row", "group", "content"]):
        codes = pd.factorize(table[column], use_na_sentinel=False)[0]
        first = np.unique(codes, return_index=True)[1]
        is_known = (table[column] != "").to_numpy()  # a patient who is not known is not one patient
        links.append(np.stack([first[codes], places], axis=1)[is_known])
    starts, ends = np.concatenate(links).T
    graph = coo_array((np.ones(len(starts), bool), (starts, ends)), shape=(len(table), len(table)))
    components = connected_components(graph, directed=False)[1]
    return np.unique(components, return_index=True)[1][components]
