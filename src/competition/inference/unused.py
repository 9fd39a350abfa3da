"""Tables that name images, and folders of images, that are not used, each in one line."""

import posixpath
import re
from collections import Counter

from src.competition.facts import Competition
from src.competition.image_paths import from_names
from src.competition.inference.cells import find_suspects, is_idle
from src.competition.inference.evidence import Evidence, Table
from src.competition.messages import listed, state

MOST_LINES = 5  # the others are counted


def find_unused(c: Competition, ev: Evidence, frames: dict[str, Table]) -> list[str]:
    """What is not used, with what it seems to hold. frames: the tables of both parts."""
    used = {c.train_csv, c.test_csv, c.sample_csv, *c.train_csv.split("+")}
    lines = [table_line(table, frames["train"], c) for table in ev.tables if table.file not in used]
    lines = [line for line in lines if line] + folder_lines(c, ev, used_images(c, ev, frames))
    num_more = len(lines) - MOST_LINES
    if num_more <= 0:
        return lines
    return [*lines[:MOST_LINES], f"{num_more} more tables or folders are not used"]


def table_line(table: Table, train: Table, c: Competition) -> str:
    """What an unused table says of the training images, "" for nothing."""
    key = table.key
    if not key or key.share < 0.5:
        return ""
    known = {place for naming in train.namings.values() for row in naming.places for place in row}
    num = sum(any(place in known for place in row) for row in key.places)
    if not num:
        return f"not used: {table.file} names {key.rows} other images (columns {listed(list(table.frame))})"
    others = [name for name in table.frame if name != key.column and name not in train.frame]
    new = [name for name in others if not is_idle(table.frame[name])]
    if not new:
        return ""
    groups = find_suspects(table.frame[new])
    what = f"column {groups[0]} looks like a group" if groups else f"columns {listed(new)}"
    line = f"not used: {table.file} names {num} training images: {what}"
    if not c.train_csv:
        return line
    join = f"make_table=lambda root: reshape.beside(root, {c.train_csv!r}, {table.file!r})"
    return f"{line}; to use it {state(join + (f', group={groups[0]!r}' if groups else ''))}"


def used_images(c: Competition, ev: Evidence, frames: dict[str, Table]) -> set[str]:
    """The images that the tables of both parts name."""
    used: set[str] = set()
    for part, pattern in (("train", c.train_images), ("test", c.test_images)):
        frame = frames[part].frame
        has_csv = bool(c.train_csv if part == "train" else c.test_csv or c.sample_csv)
        if "path" in frame and (c.make_table or pattern == "{path}" or not has_csv):
            used |= {*frame["path"]}
        if "path" not in frame or (pattern != "{path}" and has_csv):
            home = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
            rows = [row for naming in frames[part].namings.values() for row in naming.places]
            images = [ev.images[place] for row in rows for place in row]
            used |= {image for image in images if image.startswith(home)}
    return used


def folder_lines(c: Competition, ev: Evidence, used: set[str]) -> list[str]:
    """Folders whose images, or some of them, are in no table."""
    total = Counter(posixpath.dirname(file) for file in ev.images)
    rest = Counter(posixpath.dirname(file) for file in ev.images if file not in used)
    unused: Counter[str] = Counter()
    present: Counter[str] = Counter()
    for folder, count in rest.items():
        top = folder if count < total[folder] else top_unused(folder, rest, total)
        unused[top] += count
        present[top] += total[folder]
    lines = []
    for folder, count in unused.most_common():
        name = folder or "the top folder"
        if not folder and count <= 2:
            continue
        if count == present[folder]:
            how = to_use(c, ev, folder) if len(lines) < MOST_LINES else ""
            lines.append(f"not used: {count} images in {name}/{how}")
        else:
            lines.append(f"not used: {count} of {present[folder]} images in {name}/ are in no table")
    return lines


def to_use(c: Competition, ev: Evidence, folder: str) -> str:
    """How to learn from the images of an unused folder too, where it is divided as that of training is; else
    "".
    """
    if c.train_csv or c.make_table or not folder:
        return ""
    images = [file for file in ev.images if file.startswith(f"{folder}/")]
    own = zip(c.train_images.split("/"), images[0].split("/"))
    pattern = "/".join(ours if re.search(r"[{*]", ours) else theirs for ours, theirs in own)
    try:
        table = from_names(ev.root, pattern)
    except ValueError:
        return ""
    is_same = {*table["path"]} == {*images} and {*c.labels} <= {*table}
    if not is_same or not {*table[list(c.labels)].to_numpy().flat} <= {*c.classes}:
        return ""
    both = f"{c.train_images!r}, {pattern!r}"
    return f"; to learn from them too {state(f'make_table=lambda root: reshape.named(root, {both})')}"


def top_unused(folder: str, rest: Counter[str], total: Counter[str]) -> str:
    """The highest folder above whose images are all unused."""
    while above := posixpath.dirname(folder):
        below = [name for name in total if f"{name}/".startswith(f"{above}/")]
        if any(rest[name] < total[name] for name in below):
            break
        folder = above
    return folder
