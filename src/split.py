"""Look at the competition's files once and assign each image to a fold.  inputs/<comp>/ -> folds.csv,
competition.json
"""

import shutil
import sys
import time
from pathlib import Path

import pandas as pd

from src.competition import answers, definition, tables
from src.competition.groups import join_groups
from src.competition.host_tables import check_columns
from src.competition.messages import listed
from src.config import decoded_size
from src.data import external, folds, selection
from src.data.recipe import image_contents
from src.data.run import Run
from src.run import reuse
from src.run.files import atomic, file_sha, make_folder, read_json, write_json, write_text


def split(run: Run, *, anew: bool = False) -> None:
    """Write folds.csv (the table with a column `fold`) and competition.json (what was inferred), or take them
    over from a run that was split alike, unless anew. Raises ValueError for data that can't be used.
    """
    began = time.perf_counter()
    # with dedupe=group the groups.csv of the other run may be another
    if not anew and run.config.dedupe != "group" and (other := reuse.adopt_split(run.paths)):
        print(f"split: the same folds as run {other}, taken over")
        return
    table = tables.make_train(run.inputs, run.competition, tolerant=run.config.bad_images == "drop")
    test = tables.make_test(run.inputs, run.competition)
    report(run, table, test)
    table = selection.select(table, run)
    others = external.read_external(run)
    if run.config.dedupe == "group":
        both = with_groups(run, pd.concat([table, others], ignore_index=True))
        table, others = both[: len(table)], both[len(table) :]
    assigned = with_folds(run, table)
    if len(others):
        assigned = external.add_external(run, assigned, others, test)
    check_disk(run, len(assigned), len(test))
    summary = {
        "facts": definition.model_facts(run.competition),
        "definition": definition.as_python(run.competition),
        "competition": definition.as_json(run.competition),
        "images": {"train": len(table), "test": len(test)},
        "fold_hash": folds.fold_hash(assigned, run.competition.targets),
        "seconds": round(time.perf_counter() - began, 2),
    }
    with atomic(run.paths.folds) as part:  # last: with it the split is finished
        assigned.to_csv(part, index=False)
        write_json(summary | {"folds_sha256": file_sha(part)}, run.paths.competition)


def report(run: Run, table: pd.DataFrame, test: pd.DataFrame) -> None:
    """Print what was inferred and what to look at. Raises ValueError where the sample does not fit."""
    competition = run.competition
    sample = answers.sample(run.inputs, competition)
    answers.check_sample(competition, test, sample)
    tested = {*test["path"].tolist()}
    shared = [path for path in table["path"].drop_duplicates(keep=False).tolist() if path in tested]
    if shared:  # no error: some hosts do score images that they have given labels for
        print(
            f"warning: {len(shared)} images are both training and test images, such as {shared[0]}: are"
            " train_images and test_images right?",
            file=sys.stderr,
        )
    print(definition.as_python(competition))
    print(f"# {len(table)} training images, {len(test)} test images, {len(sample)} rows to submit")
    for warning in competition.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if competition.assumed:
        print(competition.assumed)


# -- images that stay together


def with_groups(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The table whose groups are joined where groups.csv (id, group) says so. Raises ValueError."""
    path = groups_file(run)
    if not path:
        print("warning: dedupe=group without a groups.csv: `make audit` writes one", file=sys.stderr)
        return table
    groups = tables.read_csv(path)
    check_columns(groups, ["id", "group"], str(path))
    repeated = groups["id"][groups["id"].duplicated()]
    if len(repeated):
        raise ValueError(f"{path} has {listed(repeated.tolist())} twice")
    if path.parent not in (run.inputs, run.paths.root):
        # the same folds again, whatever the other run does
        write_text(path.read_text(encoding="utf-8"), run.paths.root / "groups.csv")
    linked = table.assign(content=table["id"].map(groups.set_index("id")["group"]).fillna(""))
    joined = table["group"].to_numpy()[join_groups(linked)]
    print(f"split: {path} joins {(joined != table['group']).sum()} images to others")
    return table.assign(group=joined)


def groups_file(run: Run) -> Path | None:
    """groups.csv beside the competition's files, or what `make audit` has written for this run or, the
    newest, for another run of this COMP.
    """
    own = [run.inputs / "groups.csv", run.paths.root / "groups.csv"]
    siblings = [
        one for one in reuse.siblings(run.paths) if read_json(one.config).get("comp") == run.settings.comp
    ]
    others = [path for one in siblings if (path := one.root / "groups.csv").exists()]
    newest_first = sorted(others, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next((path for path in (*own, *newest_first) if path.exists()), None)


# -- folds


def with_folds(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The table with a checked column `fold`. Raises ValueError."""
    competition = run.competition
    linked = table
    if run.config.dedupe == "content":
        contents = pd.Series(image_contents(run, table), table.index)
        # one file of many images says nothing of each
        linked = table.assign(content=contents.mask(table["path"].duplicated(keep=False), ""))
    fold = folds.assign(
        linked,
        run.config,
        task=competition.task,
        targets=competition.targets,
        given=folds_by_hand(run),
    )
    counts = fold.value_counts().sort_index()
    print("folds: " + ", ".join(f"{k}: {num}" for k, num in counts.items()) + " images")
    return table.assign(fold=fold)


def folds_by_hand(run: Run) -> pd.Series | None:
    """The folds of a folds.csv beside the competition's files by id, for fold_scheme=file."""
    path = run.inputs / "folds.csv"
    if run.config.fold_scheme == "file":
        frame = tables.read_csv(path)
        check_columns(frame, ["id", "fold"], str(path))
        return frame.set_index("id")["fold"]
    if path.exists():
        message = f'warning: {path} is there and not used: SET="fold_scheme=file" takes its folds'
        print(message, file=sys.stderr)
    return None


def check_disk(run: Run, *num_images: int) -> None:
    """Say what the run will need on disk: decoded pixels, unless they are more than decoded_gb, and at most
    cache_gb for the trunk. num_images: of each table. Raises ValueError where the pixels don't fit.
    """
    cache, limit = make_folder(run.settings.cache), run.machine.decoded_gb
    sizes = [count * decoded_size(run.config) ** 2 * 3 / 1e9 for count in num_images]
    need = sum(size for size in sizes if size <= limit)
    for size in sizes:
        if size > limit:
            print(
                f"disk: {size:.2f} GB of pixels are more than decoded_gb={limit:g}: decoded as they are read"
            )
    free = shutil.disk_usage(cache).free / 1e9
    trunk = f"up to {run.machine.cache_gb:g} GB for the trunk's cache"
    print(f"disk: {need:.1f} GB for decoded images, {trunk}; {free:.0f} GB are free in {cache}")
    if free < need:
        raise ValueError(
            f"{cache} has {free:.1f} GB free, the decoded images need {need:.1f}: free some, CACHE=folder on"
            ' another disk, or MACHINE="decoded_gb=0", which decodes them as they are read'
        )
