"""Look at the competition's files once and assign each image to a fold.  inputs/<comp>/ -> folds.csv,
competition.json
"""

import shutil
import sys
import time

import numpy as np
import pandas as pd

from src.competition import answers, definition, tables
from src.competition.facts import NUMBERS, Competition
from src.competition.groups import join_groups
from src.competition.host_tables import check_columns
from src.competition.listing import EXTERNAL
from src.competition.messages import complain, listed
from src.config import Settings
from src.data import folds, looks
from src.data.images import content_hashes, read_all
from src.data.run import Run
from src.run import reuse
from src.run.files import atomic, file_sha, make_folder, read_json, write_json, write_text
from src.run.paths import RunPaths


def split(run: Run, *, anew: bool = False) -> None:
    """Write folds.csv (the table with a column `fold`) and competition.json (what was inferred), or take them over
    from a run that was split alike, unless anew. Raises ValueError for data that can't be used.
    """
    began = time.perf_counter()
    paths, settings, competition = run.paths, run.settings, run.competition
    # with dedupe=group the groups.csv of the other run may be another
    if not anew and settings.config.dedupe != "group" and (other := reuse.adopt_split(paths)):
        print(f"split: the same folds as run {other}, taken over")
        return
    table = tables.make_train(settings.folder, competition, tolerant=settings.config.bad_images == "drop")
    test, sample = (
        tables.make_test(settings.folder, competition),
        answers.sample(settings.folder, competition),
    )
    answers.check_sample(competition, test, sample)
    shared = table["path"][table["path"].isin(test["path"]) & ~table["path"].duplicated(keep=False)].tolist()
    # not an error: some hosts do score images that they have given labels for
    if shared:
        print(
            f"warning: {len(shared)} images are both training and test images, such as {shared[0]}: are"
            " train_images and test_images right?",
            file=sys.stderr,
        )
    print(
        definition.as_python(competition),
        f"\n# {len(table)} training images, {len(test)} test images, {len(sample)} rows to submit",
        sep="",
    )
    for warning in competition.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if competition.assumed:
        print(competition.assumed)
    table = some(readable(table, settings, competition), settings, competition)
    content, external = None, external_images(settings, competition)
    if settings.config.dedupe == "group":
        both = with_groups(pd.concat([table, external], ignore_index=True), settings, paths)
        table, external = both[: len(table)], both[len(table) :]
    if settings.config.dedupe == "content":
        content = content_hashes([settings.folder / path for path in table["path"]], settings.memory)
        # one file of many images says nothing of each
        shared = table["path"].duplicated(keep=False)
        content = [value if not is_shared else "" for value, is_shared in zip(content, shared)]
    assigned = assign(settings, competition, table, content)
    if len(external):
        assigned = with_external(assigned, external, test, settings, competition)
    say_disk(settings, competition, len(assigned), len(test))
    summary = {
        "facts": definition.model_facts(competition),
        "definition": definition.as_python(competition),
        "images": {"train": len(table), "test": len(test)},
        "fold_hash": folds.fold_hash(assigned, competition.targets),
        "seconds": round(time.perf_counter() - began, 2),
    }
    with atomic(paths.folds) as part:  # last: with it the split is finished
        assigned.to_csv(part, index=False)
        write_json(summary | {"folds_sha256": file_sha(part)}, paths.competition)


def readable(table: pd.DataFrame, settings: Settings, competition: Competition) -> pd.DataFrame:
    """The table without the images that can't be read, for bad_images=drop; each is named. Otherwise the
    train stage refuses them.
    """
    if settings.config.bad_images != "drop":
        return table
    records = table.assign(file=[str(settings.folder / path) for path in table["path"]]).to_dict("records")
    bad = read_all(
        records,
        8,
        lambda place, pixels: None,
        read_image=competition.read_image,
        max_pixels=competition.max_pixels,
        workers=settings.machine.workers,
    )
    for problem in bad.values():
        print(f"warning: left out, {problem}", file=sys.stderr)
    return table[~table["id"].isin(bad)].reset_index(drop=True)


def with_groups(table: pd.DataFrame, settings: Settings, paths: RunPaths) -> pd.DataFrame:
    """The table whose groups are joined where groups.csv (id, group) says so: one beside the competition's
    files, or what `make audit` has written for this run or, the newest, for another run of this COMP.
    """
    others = [run.root for run in reuse.siblings(paths) if read_json(run.config).get("comp") == settings.comp]
    written = sorted(
        (path for root in others if (path := root / "groups.csv").exists()),
        key=lambda path: path.stat().st_mtime_ns,
        reverse=True,
    )
    found = [
        path
        for path in (settings.folder / "groups.csv", paths.root / "groups.csv", *written)
        if path.exists()
    ]
    if not found:
        print("warning: dedupe=group without a groups.csv: `make audit` writes one", file=sys.stderr)
        return table
    given = tables.read_csv(found[0])
    check_columns(given, ["id", "group"], str(found[0]))
    if given["id"].duplicated().any():
        raise ValueError(f"{found[0]} has {listed(given['id'][given['id'].duplicated()].tolist())} twice")
    if found[0] in written:
        # the same folds again, whatever the other run does
        write_text(found[0].read_text(encoding="utf-8"), paths.root / "groups.csv")
    linked = table.assign(content=table["id"].map(given.set_index("id")["group"]).fillna(""))
    joined = table["group"].to_numpy()[join_groups(linked)]
    print(f"split: {found[0]} joins {(joined != table['group']).sum()} images to others")
    return table.assign(group=joined)


def assign(
    settings: Settings, competition: Competition, table: pd.DataFrame, content: list[str] | None
) -> pd.DataFrame:
    """The table with a checked column `fold`."""
    by_hand = settings.folder / "folds.csv"
    given = None
    if settings.config.fold_scheme == "file":
        frame = tables.read_csv(by_hand)
        check_columns(frame, ["id", "fold"], str(by_hand))
        given = frame.set_index("id")["fold"]
    elif by_hand.exists():
        print(
            f'warning: {by_hand} is there and not used: SET="fold_scheme=file" takes its folds',
            file=sys.stderr,
        )
    with_content = table.assign(content=content) if content else table
    fold = folds.assign(
        with_content, settings.config, task=competition.task, targets=competition.targets, given=given
    )
    assigned = table.assign(fold=fold)
    folds.check(assigned, settings.config, competition.targets, task=competition.task)
    counts = assigned["fold"].value_counts().sort_index()
    print("folds: " + ", ".join(f"{k}: {n}" for k, n in counts.items()) + " images")
    return assigned


def external_images(settings: Settings, competition: Competition) -> pd.DataFrame:
    """The table of external.csv, without rows where there is none. Raises ValueError for what doesn't fit."""
    if settings.config.external == "none" or not (settings.folder / EXTERNAL).exists():
        return pd.DataFrame()
    found = tables.make_external(settings.folder, competition, tolerant=settings.config.bad_images == "drop")
    return some(readable(found, settings, competition), settings, competition)


def with_external(
    table: pd.DataFrame,
    external: pd.DataFrame,
    test: pd.DataFrame,
    settings: Settings,
    competition: Competition,
) -> pd.DataFrame:
    """The table, and below it the external images in fold -1, marked in a column `external`. Those that a
    chain of copies and groups links with a training image would be learned by the model that is tested on it,
    so they are left out. Raises ValueError for an id that stands twice.
    """
    contents = [
        content_hashes([settings.folder / path for path in part["path"]], settings.memory)
        for part in (table, external, test)
    ]
    pairs = look_alikes(external, pd.concat([table, test], ignore_index=True), settings, competition)
    both = pd.concat([table[["group"]], external[["group"]]], ignore_index=True).assign(
        content=[*contents[0], *contents[1]]
    )
    joined = join_groups(both, [(len(table) + a, b) for a, b in pairs if b < len(table)])
    is_known = pd.Series(np.isin(joined[len(table) :], joined[: len(table)]), index=external.index)
    of_test = {a for a, b in pairs if b >= len(table)}
    is_tested = pd.Series(
        [content in contents[2] or place in of_test for place, content in enumerate(contents[1])],
        index=external.index,
    )
    ids = external["id"]
    for warning in (
        *complain(
            ids[is_known],
            "images are left out: copies of training images, or linked with one by group or by another copy",
        ),
        *complain(ids[is_tested], "images are copies of test images: do the rules allow that?"),
    ):
        print(f"warning: {EXTERNAL}: {warning}", file=sys.stderr)
    if clash := complain(
        ids[~is_known & ids.isin([*table["id"], *test["id"]])],
        "paths are ids of the host's images: rename these files",
    ):
        raise ValueError(f"{EXTERNAL}: {clash[0]}")
    print(f"{EXTERNAL}: {(~is_known).sum()} images train in every fold and are never scored")
    return pd.concat(
        [table.assign(external=""), external[~is_known].assign(fold=-1, external="yes")], ignore_index=True
    )


def look_alikes(
    external: pd.DataFrame, others: pd.DataFrame, settings: Settings, competition: Competition
) -> list[tuple[int, int]]:
    """(place, place) of external images and the host's that look the same, whatever their bytes."""
    records, theirs = (
        part.assign(file=[str(settings.folder / path) for path in part["path"]]).to_dict("records")
        for part in (external, others)
    )
    return looks.copies(
        records,
        theirs,
        reader=competition.read_image,
        max_pixels=competition.max_pixels,
        workers=settings.machine.workers,
    )


def some(table: pd.DataFrame, settings: Settings, competition: Competition) -> pd.DataFrame:
    """`limit` images for a first look: of each class one per fold, as long as that lasts, then the same share
    of each class.
    """
    limit = settings.config.limit
    if not limit or limit >= len(table):
        return table
    labels = (
        tables.joined(table, competition.targets)
        if competition.task not in NUMBERS
        else pd.Series("", index=table.index)
    )
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = table.iloc[order]
    rank = shuffled.groupby(labels.iloc[order]).cumcount()  # the how-manieth of its class
    share = rank / labels.iloc[order].map(labels.value_counts())
    chosen = share.where(
        rank >= settings.config.folds, labels.rank(method="dense") / len(table) - 2
    ).sort_values(kind="stable")
    return table.loc[chosen.index[:limit]].sort_values("id", kind="stable").reset_index(drop=True)


def say_disk(settings: Settings, competition: Competition, num_train: int, num_test: int) -> None:
    """What the run will need on disk: decoded pixels, and at most cache_gb for the trunk."""
    size = settings.config.image_size
    need = (num_train + num_test) * size * size * 3 / 1e9
    make_folder(settings.cache)
    free = shutil.disk_usage(settings.cache).free / 1e9
    trunk = f"up to {settings.machine.cache_gb:g} GB for the trunk's cache"
    print(f"disk: {need:.1f} GB for decoded images, {trunk}; {free:.0f} GB are free in {settings.cache}")
    if free < need:
        raise ValueError(
            f"{settings.cache} has {free:.1f} GB free, the decoded images need {need:.1f}: free some, or"
            " CACHE=folder on another disk"
        )
