"""Images of external.csv, which train in every fold and are never scored."""

import sys

import numpy as np
import pandas as pd

from src.competition.groups import join_groups
from src.competition.listing import EXTERNAL
from src.competition.messages import complain
from src.competition.tables import make_external
from src.data import looks
from src.data.images import records_of
from src.data.recipe import image_contents
from src.data.run import Run
from src.data.selection import select


def read_external(run: Run) -> pd.DataFrame:
    """The table of external.csv, without rows where there is none. Raises ValueError for what doesn't fit."""
    if run.config.external == "none" or not (run.inputs / EXTERNAL).exists():
        return pd.DataFrame()
    table = make_external(run.inputs, run.competition, tolerant=run.config.bad_images == "drop")
    return select(table, run)


def add_external(run: Run, table: pd.DataFrame, external: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """The table, and below it the external images in fold -1, marked in a column `external`. Those that a
    chain of copies and groups links with a training image would be learned by the model that is tested on it,
    so they are left out. Raises ValueError for an id that stands twice.
    """
    contents, of_external, of_test = (image_contents(run, part) for part in (table, external, test))
    pairs = look_alikes(run, external, pd.concat([table, test], ignore_index=True))
    groups = pd.concat([table["group"], external["group"]], ignore_index=True)
    linked = pd.DataFrame({"group": groups, "content": [*contents, *of_external]})
    num = len(table)
    joined = join_groups(linked, [(num + place, other) for place, other in pairs if other < num])
    is_known = np.isin(joined[num:], joined[:num])
    alike = {place for place, other in pairs if other >= num}
    is_tested = np.isin(of_external, of_test) | np.isin(np.arange(len(external)), [*alike])
    ids = external["id"]
    known = "images are left out: copies of training images, or linked with one by group or by another copy"
    tested = "images are copies of test images: do the rules allow that?"
    for warning in complain(ids[is_known], known) + complain(ids[is_tested], tested):
        print(f"warning: {EXTERNAL}: {warning}", file=sys.stderr)
    clash = ids[~is_known & ids.isin([*table["id"], *test["id"]])]
    if len(clash):
        [problem] = complain(clash, "paths are ids of the host's images: rename these files")
        raise ValueError(f"{EXTERNAL}: {problem}")
    print(f"{EXTERNAL}: {(~is_known).sum()} images train in every fold and are never scored")
    used = external[~is_known].assign(fold=-1, external="yes")
    return pd.concat([table.assign(external=""), used], ignore_index=True)


def look_alikes(run: Run, external: pd.DataFrame, others: pd.DataFrame) -> list[tuple[int, int]]:
    """(place, place) of external images and the host's that look the same, whatever their bytes."""
    return looks.copies(
        records_of(external, run.inputs),
        records_of(others, run.inputs),
        reader=run.competition.read_image,
        max_pixels=run.competition.max_pixels,
        workers=run.machine.num_threads,
    )
