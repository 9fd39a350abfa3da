"""What folders and file names tell: the class of an image, and which images are the test's."""

import posixpath
import re
from collections import Counter
from typing import Any

from src.competition.formats import TABLES
from src.competition.inference.advice import Code, Unclear
from src.competition.inference.evidence import Evidence, Table, part_of
from src.competition.inference.table_roles import Roles
from src.competition.messages import listed, state

PART_FOLDER = re.compile(
    r"(.*(image|img|photo|pic|part|batch|chunk|split|fold|train|data|archive|zip|vol|set|dir|folder|shard).*?)["
    r" _-]?\d+",
    re.I,
)


def sample_words(roles: Roles, asked: list[str]) -> set[str]:
    """What the sample's columns and cells say that is no number: labels, perhaps."""
    if len(asked) > 1:
        return {*asked}
    cells = (
        roles.sample.frame[asked[0]].unique()[:2000]
        if roles.sample and asked and asked[0] in roles.sample.frame
        else []
    )
    return {cell for cell in cells if cell and not re.fullmatch(r"[+-]?\d*\.\d+|0|1|0\.0", cell)}


def folder_levels(ev: Evidence) -> tuple[str, list[list[str]]]:
    """The folder that all training images share, and for each folder below it the names of its levels."""
    folders = sorted({posixpath.dirname(file) for file in ev.images})
    for parts in (("train",), ("train", "")):
        own = [
            folder
            for folder in folders
            if part_of(folder) in parts or part_of(posixpath.dirname(folder)) == "train"
        ]  # a class train/valid
        home = posixpath.commonpath(own) if own else ""
        below = [folder.removeprefix(home).strip("/").split("/") for folder in own if folder != home]
        if len({tuple(names) for names in below}) > 1:
            return home, below
    return "", []


def level_patterns(home: str, below: list[list[str]]) -> dict[str, set[str]]:
    """The patterns that may name the class, a level each, and the classes that each gives."""
    found: dict[str, set[str]] = {}
    for level in range(min(5, max(map(len, below), default=0))):
        names = {row[level] for row in below if len(row) > level}
        if len(names) < 2:
            continue
        rest = {"/".join(row[level + 1 :]) for row in below if len(row) > level}
        before = {"/".join(row[:level]) for row in below if len(row) > level}
        start = before.pop() if len(before) == 1 else "/".join("*" * level)
        end = (*rest, "*") if len(rest) == 1 else ("**/*",)
        found[posixpath.join(home, start, "{label}", *end)] = names
    return found


def sure_folders(ev: Evidence, roles: Roles, asked: list[str]) -> str:
    """The pattern of the only level of folders whose names are the sample's labels, "" where there is none."""
    words = sample_words(roles, asked)
    fitting = [
        pattern
        for pattern, names in level_patterns(*folder_levels(ev)).items()
        if words and len(names & words) >= 0.5 * len(words)
    ]
    return fitting[0] if len(fitting) == 1 else ""


def class_folders(ev: Evidence, roles: Roles, asked: list[str]) -> str:
    """The pattern of images in a folder per class, wherever it lies."""
    home, below = folder_levels(ev)
    patterns = level_patterns(home, below)
    refuse_tables_of_folders(patterns, ev, roles)
    if pattern := sure_folders(ev, roles, asked):
        return without_test(pattern, ev, roles)
    has_parts = {pattern for pattern, names in patterns.items() if are_parts(names)}
    tables_left = [
        table
        for table in ev.tables
        if table is not roles.sample
        and table is not roles.test
        and table.key
        and table.key.share >= 0.5
        and len(table.frame.columns) > 1
    ]
    depths = {len(row) for row in below}
    if len(patterns) == 1 and not has_parts and len(depths) == 1 and not tables_left:
        return without_test(next(iter(patterns)), ev, roles)
    if len(patterns) == 1 and not has_parts and len(depths) == 1:
        raise Unclear(
            f"do the folders of {next(iter(patterns))} name the class, or does {tables_left[0].file}, which names {tables_left[0].key.rows} of these "  # type: ignore[union-attr]
            f"images? {state('train_csv, or train_images')}",
            {"train_images": next(iter(patterns))},
            *({"train_csv": table.file} for table in tables_left),
        )
    if patterns:
        folders = sorted({posixpath.join(home, *row) for row in below})
        why = ", whose names are those of parts" if has_parts else ""
        above = posixpath.join(home, "")
        raise Unclear(
            f"which folder names the class in {listed(folders)}{why}: "
            + state(f'train_images, such as "{above}{{label}}/**/*" or "{above}*/{{label}}/*"'),
            *({"train_images": pattern} for pattern in patterns),
            *name_patterns(ev),
            *({"train_csv": table.file} for table in tables_left),
        )
    names = [file for file in ev.files if file.lower().endswith(TABLES)]
    raise Unclear(
        f"no train.csv and no folder per class (train/<class>/<image>): {state('train_csv')} (there are"
        f" {listed(names) or 'none'}), or train_images with a {{label}} in it, such as"
        ' "train/{label}.{number}.jpg"',
        *name_patterns(ev),
        *({"train_csv": table.file} for table in ev.tables if table is not roles.sample),
    )


def refuse_tables_of_folders(patterns: dict[str, set[str]], ev: Evidence, roles: Roles) -> None:
    """Folders that a table describes, such as one per patient, are no classes. Raises Unclear."""
    for table in ev.tables:
        for column in table.frame if table is not roles.sample and len(table.frame.columns) > 2 else []:
            cells = {*table.frame[column]}
            if (
                any(len(names & cells) > 0.8 * len(names) and len(names) > 2 for names in patterns.values())
                and table.frame[column].is_unique
            ):
                text = f"lambda root: reshape.in_folders(root, {table.file!r}, {column!r})"
                others = [name for name in table.frame if name != column and table.frame[name].nunique() > 1]
                raise Unclear(
                    f"column {column!r} of {table.file} names the folders of the training images, which may"
                    f" be no classes but what that table describes ({listed(others)}): "
                    + state("make_table and labels, or train_images"),
                    *(
                        {"make_table": Code(text), "labels": (name,), "id": "image", "group": column}
                        for name in others[:3]
                    ),
                    *({"train_images": pattern} for pattern in patterns),
                )


def without_test(pattern: str, ev: Evidence, roles: Roles) -> str:
    """The pattern, where no test image lies among the class folders."""
    home = pattern.partition("{")[0].partition("*")[0]
    among = [
        place for place in roles.tested if ev.parts[place] != "test" and ev.images[place].startswith(home)
    ]
    if not among or not roles.sample:
        return pattern
    lists = [
        table.file
        for table in ev.tables
        if table is not roles.sample and table.key and table.key.share >= 0.5
    ]
    named = [f"lambda root: reshape.named_by(root, {pattern!r}, {file!r})" for file in lists]
    left = f"lambda root: reshape.named_by(root, {pattern!r}, {roles.sample.file!r}, is_left=True)"
    raise Unclear(
        f"{len(among)} images that {roles.sample.file} names lie in the class folders {pattern}, and can't be"
        " learned from: " + state("a make_table without them"),
        *({"make_table": Code(text), "labels": ("label",), "id": "id"} for text in [*named, left]),
    )


def are_parts(names: set[str]) -> bool:
    """images_001, images_002: the same word and a number, and a word that says no class."""
    return (
        all(PART_FOLDER.fullmatch(name) for name in names)
        and len({re.sub(r"\d+", "", name) for name in names}) == 1
    )


def name_patterns(ev: Evidence) -> list[dict[str, Any]]:
    """Statements for labels that stand in the images' own names, such as cat.12.jpg or 12_cat.jpg."""
    own = [file for file, part in zip(ev.images, ev.parts) if part == "train"] or [
        file for file, part in zip(ev.images, ev.parts) if not part
    ]
    found = []
    home = (
        posixpath.join(posixpath.commonpath({posixpath.dirname(file) for file in own}), "")
        if own and all(map(posixpath.dirname, own))
        else ""
    )
    stems = [posixpath.splitext(posixpath.basename(file))[0] for file in own]
    for mark in ("__", "_", ".", "-", " "):
        for pattern, regex in (
            (f"{{label}}{mark}{{number}}", rf"(.+?){re.escape(mark)}([^/]*\d[^/]*)"),
            (f"{{number}}{mark}{{label}}", rf"([^/]*\d[^/]*?){re.escape(mark)}(\D+)"),
        ):
            hits = [hit for stem in stems if (hit := re.fullmatch(regex, stem))]
            labels = Counter(hit[1 if pattern.startswith("{label}") else 2] for hit in hits)
            if len(hits) >= 0.98 * len(stems) and 2 <= len(labels) <= 0.5 * len(stems):
                deeper = any(posixpath.dirname(file) != home.strip("/") for file in own)
                found.append({"train_images": f"{home}{'**/' if deeper else ''}{pattern}.*"})
    return found


def left_over(ev: Evidence, train: Table | None) -> list[dict[str, Any]]:
    """The statement for images that the training table does not name, if there are such."""
    if (
        not train
        or not train.key
        or len({place for row in train.key.places for place in row}) >= len(ev.images)
    ):
        return []
    return [{"make_test": Code(f"lambda root: reshape.left_over(root, {train.file!r})")}]


def find_test_folder(ev: Evidence, train: Table | None = None) -> str:
    """The pattern of the images below the folder that says test, for a competition that lists them in no csv."""
    homes = {posixpath.dirname(file) for file, part in zip(ev.images, ev.parts) if part == "test"}
    homes = {
        home for home in homes if part_of(posixpath.dirname(home)) != "train"
    } or homes  # train/test_tube is a class
    if not homes:
        others = sorted(
            {
                posixpath.dirname(file).split("/")[0]
                for file, part in zip(ev.images, ev.parts)
                if part != "train" and posixpath.dirname(file)
            }
        )
        raise Unclear(
            "no sample_submission.csv, no test.csv and no image in a folder named test: "
            + state("test_images, test_csv or make_test"),
            *left_over(ev, train),
            *(
                {
                    "test_images": (
                        f"{name}/**/{{id}}"
                        if any(
                            "/" in file.removeprefix(f"{name}/")
                            for file in ev.images
                            if file.startswith(f"{name}/")
                        )
                        else f"{name}/{{id}}"
                    )
                }
                for name in others[:4]
            ),
        )
    own = [file for file in ev.images if posixpath.dirname(file) in homes]
    if (
        len({posixpath.basename(file) for file in own}) < len(own)
        and len({home.count("/") for home in homes}) == 1
    ):
        common = posixpath.commonpath(homes)  # a/1.jpg and b/1.jpg: the id is the path from there on
        deeper = (
            (next(iter(homes)).count("/") - common.count("/")) if common else next(iter(homes)).count("/") + 1
        )
        return posixpath.join(common, *(f"{{folder{number}}}" for number in range(deeper)), "{file}")
    return posixpath.join(posixpath.commonpath(homes), "" if len(homes) == 1 else "**/", "{id}")
