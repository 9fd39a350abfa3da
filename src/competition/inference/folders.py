"""What folders and file names tell: the class of an image, and which images are the test's."""

import posixpath
import re

from src.competition.formats import TABLES
from src.competition.inference.advice import Code, Statement, Unclear
from src.competition.inference.evidence import Evidence, Table, part_of
from src.competition.inference.table_roles import Roles
from src.competition.messages import listed, state

PART_WORDS = "image|img|photo|pic|part|batch|chunk|split|fold|train|data|archive|zip|vol|set|dir|folder|shard"
PART_FOLDER = re.compile(rf"(.*({PART_WORDS}).*?)[ _-]?\d+", re.I)


def sample_words(roles: Roles, asked: list[str]) -> set[str]:
    """What the sample's columns and cells say that is no number: labels, perhaps."""
    if len(asked) > 1:
        return {*asked}
    if not roles.sample or not asked or asked[0] not in roles.sample.frame:
        return set()
    cells = roles.sample.frame[asked[0]].unique()[:2000]
    return {cell for cell in cells if cell and not re.fullmatch(r"[+-]?\d*\.\d+|0|1|0\.0", cell)}


def folder_levels(ev: Evidence) -> tuple[str, list[list[str]]]:
    """The folder that all training images share, and for each folder below it the names of its levels."""
    folders = sorted({posixpath.dirname(file) for file in ev.images})
    for parts in (("train",), ("train", "")):
        own = [
            folder
            for folder in folders
            # the second: a class train/valid
            if part_of(folder) in parts or part_of(posixpath.dirname(folder)) == "train"
        ]
        home = posixpath.commonpath(own) if own else ""
        below = [folder.removeprefix(home).strip("/").split("/") for folder in own if folder != home]
        if len({tuple(names) for names in below}) > 1:
            return home, below
    return "", []


def level_patterns(home: str, below: list[list[str]]) -> dict[str, set[str]]:
    """The patterns that may name the class, a level each, and the classes that each gives."""
    found: dict[str, set[str]] = {}
    for level in range(min(5, max(map(len, below), default=0))):
        rows = [row for row in below if len(row) > level]
        names = {row[level] for row in rows}
        if len(names) < 2:
            continue
        rest = {"/".join(row[level + 1 :]) for row in rows}
        before = {"/".join(row[:level]) for row in rows}
        start = before.pop() if len(before) == 1 else "/".join("*" * level)
        end = (*rest, "*") if len(rest) == 1 else ("**/*",)
        found[posixpath.join(home, start, "{label}", *end)] = names
    return found


def sure_folders(ev: Evidence, roles: Roles, asked: list[str]) -> str:
    """The pattern of the only level of folders whose names are the sample's labels, "" where
    there is none.
    """
    words = sample_words(roles, asked)
    levels = level_patterns(*folder_levels(ev)) if words else {}
    fitting = [pattern for pattern, names in levels.items() if len(names & words) >= 0.5 * len(words)]
    return fitting[0] if len(fitting) == 1 else ""


def class_folders(ev: Evidence, roles: Roles, asked: list[str]) -> str:
    """The pattern of images in a folder per class, wherever it lies. Raises Unclear."""
    home, below = folder_levels(ev)
    patterns = level_patterns(home, below)
    refuse_tables_of_folders(patterns, ev, roles)
    if pattern := sure_folders(ev, roles, asked):
        return without_test(pattern, ev, roles)
    if not patterns:
        raise no_class_folders(ev, roles)
    others = [table for table in ev.tables if table is not roles.sample and table is not roles.test]
    others = [table for table in others if table.names_images and len(table.frame.columns) > 1]
    are_all_parts = any(are_parts(names) for names in patterns.values())
    if len(patterns) == 1 and not are_all_parts and len({len(row) for row in below}) == 1:
        pattern = next(iter(patterns))
        if not others:
            return without_test(pattern, ev, roles)
        question = f"do the folders of {pattern} name the class, or does {others[0].file}, which names"
        raise Unclear(
            f"{question} {others[0].num_rows} of these images? {state('train_csv, or train_images')}",
            {"train_images": pattern},
            *({"train_csv": table.file} for table in others),
        )
    names = sorted({posixpath.join(home, *row) for row in below})
    why = ", whose names are those of parts" if are_all_parts else ""
    above = posixpath.join(home, "")
    raise Unclear(
        f"which folder names the class in {listed(names)}{why}: "
        + state(f'train_images, such as "{above}{{label}}/**/*" or "{above}*/{{label}}/*"'),
        *({"train_images": pattern} for pattern in patterns),
        *name_patterns(ev),
        *({"train_csv": table.file} for table in others),
    )


def no_class_folders(ev: Evidence, roles: Roles) -> Unclear:
    names = [file for file in ev.files if file.lower().endswith(TABLES)]
    return Unclear(
        f"no train.csv and no folder per class (train/<class>/<image>): {state('train_csv')} (there are"
        f" {listed(names) or 'none'}), or train_images with a {{label}} in it, such as"
        ' "train/{label}.{number}.jpg"',
        *name_patterns(ev),
        *({"train_csv": table.file} for table in ev.tables if table is not roles.sample),
    )


def refuse_tables_of_folders(patterns: dict[str, set[str]], ev: Evidence, roles: Roles) -> None:
    """Folders that a table describes, such as one per patient, are no classes. Raises Unclear."""
    for table in ev.tables:
        if table is roles.sample or len(table.frame.columns) < 3:
            continue
        for column, cells in table.frame.items():
            values = {*cells}
            levels = [names for names in patterns.values() if len(names) > 2]
            if not cells.is_unique or not any(len(names & values) > 0.8 * len(names) for names in levels):
                continue
            make = Code(f"lambda root: reshape.in_folders(root, {table.file!r}, {column!r})")
            others = [name for name in table.frame if name != column and table.frame[name].nunique() > 1]
            raise Unclear(
                f"column {column!r} of {table.file} names the folders of the training images, which may be no"
                f" classes but what that table describes ({listed(others)}): "
                + state("make_table and labels, or train_images"),
                *(
                    {"make_table": make, "labels": (name,), "id": "image", "group": column}
                    for name in others[:3]
                ),
                *({"train_images": pattern} for pattern in patterns),
            )


def without_test(pattern: str, ev: Evidence, roles: Roles) -> str:
    """The pattern, where no test image lies among the class folders. Raises Unclear."""
    home = re.split(r"[{*]", pattern)[0]
    tested = [place for place in roles.tested if ev.parts[place] != "test"]
    num = sum(ev.images[place].startswith(home) for place in tested)
    if not num or not roles.sample:
        return pattern
    lists = [table.file for table in ev.tables if table is not roles.sample and table.names_images]
    codes = [f"lambda root: reshape.named_by(root, {pattern!r}, {file!r})" for file in lists]
    codes.append(f"lambda root: reshape.named_by(root, {pattern!r}, {roles.sample.file!r}, is_left=True)")
    raise Unclear(
        f"{num} images that {roles.sample.file} names lie in the class folders {pattern}, and can't be"
        " learned from: " + state("a make_table without them"),
        *({"make_table": Code(code), "labels": ("label",), "id": "id"} for code in codes),
    )


def are_parts(names: set[str]) -> bool:
    """images_001, images_002: the same word and a number, and a word that says no class."""
    return (
        all(PART_FOLDER.fullmatch(name) for name in names)
        and len({re.sub(r"\d+", "", name) for name in names}) == 1
    )


def name_patterns(ev: Evidence) -> list[Statement]:
    """Statements for labels that stand in the images' own names, such as cat.12.jpg or 12_cat.jpg."""
    own = [file for file, part in zip(ev.images, ev.parts) if part == "train"]
    own = own or [file for file, part in zip(ev.images, ev.parts) if not part]
    homes = {posixpath.dirname(file) for file in own}
    home = posixpath.join(posixpath.commonpath(homes), "") if homes and "" not in homes else ""
    deeper = "**/" if homes - {home.strip("/")} else ""
    stems = [posixpath.splitext(posixpath.basename(file))[0] for file in own]
    found = []
    for mark in ("__", "_", ".", "-", " "):
        for pattern, regex in (
            (f"{{label}}{mark}{{number}}", rf"(?P<label>.+?){re.escape(mark)}[^/]*\d[^/]*"),
            (f"{{number}}{mark}{{label}}", rf"[^/]*\d[^/]*?{re.escape(mark)}(?P<label>\D+)"),
        ):
            matches = [match for stem in stems if (match := re.fullmatch(regex, stem))]
            num_labels = len({match["label"] for match in matches})
            if len(matches) >= 0.98 * len(stems) and 2 <= num_labels <= 0.5 * len(stems):
                found.append({"train_images": f"{home}{deeper}{pattern}.*"})
    return found


def find_test_folder(ev: Evidence, train: Table | None = None) -> str:
    """The pattern of the images below the folder that says test, for a competition that lists them in no csv.
    Raises Unclear.
    """
    homes = {posixpath.dirname(file) for file, part in zip(ev.images, ev.parts) if part == "test"}
    # train/test_tube is a class
    homes = {home for home in homes if part_of(posixpath.dirname(home)) != "train"} or homes
    if not homes:
        raise no_test_folder(ev, train)
    own = [file for file in ev.images if posixpath.dirname(file) in homes]
    common = posixpath.commonpath(homes)
    depths = {home.count("/") + 1 for home in homes}
    if len({posixpath.basename(file) for file in own}) < len(own) and len(depths) == 1:
        # a/1.jpg and b/1.jpg: the id is the path from there on
        num = depths.pop() - (common.count("/") + 1 if common else 0)
        return posixpath.join(common, *(f"{{folder{number}}}" for number in range(num)), "{file}")
    return posixpath.join(common, "" if len(homes) == 1 else "**/", "{id}")


def no_test_folder(ev: Evidence, train: Table | None) -> Unclear:
    statements: list[Statement] = []
    key = train.key if train else None
    if train and key and len({place for row in key.places for place in row}) < len(ev.images):
        statements.append({"make_test": Code(f"lambda root: reshape.left_over(root, {train.file!r})")})
    others = [file for file, part in zip(ev.images, ev.parts) if part != "train" and "/" in file]
    for name in sorted({file.split("/")[0] for file in others})[:4]:
        is_deep = any(file.count("/") > 1 for file in ev.images if file.startswith(f"{name}/"))
        statements.append({"test_images": f"{name}/**/{{id}}" if is_deep else f"{name}/{{id}}"})
    return Unclear(
        "no sample_submission.csv, no test.csv and no image in a folder named test: "
        + state("test_images, test_csv or make_test"),
        *statements,
    )
