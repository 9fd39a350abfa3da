"""Where the images lie that a column names: the pattern of their paths, train and test apart."""

import posixpath
from collections import Counter
from dataclasses import dataclass

from src.competition.inference.evidence import Evidence, Naming
from src.competition.listing import clean, common_tail


@dataclass(frozen=True)
class Located:
    """Where the images of a part lie: the pattern, or the patterns that fit equally well."""

    patterns: tuple[str, ...] = ()
    rows: int = 0  # rows that name an image of this part
    places: frozenset[int] = frozenset()  # the images that may be meant


def located(naming: Naming, evidence: Evidence, part: str, taken: frozenset[int] = frozenset()) -> Located:
    """The pattern by which the rows name images of this part that are not taken by the other."""
    tiers = (
        ({"train"}, {"train", ""}, {"train", "", "valid"})
        if part == "train"
        else ({"test"}, {"test", ""}, {"test", "", "valid"}, {"test", "", "valid", "train"})
    )
    best: list[list[int]] = []
    most = -1
    for tier in tiers:
        rows = [
            [place for place in row if evidence.parts[place] in tier and place not in taken]
            for row in naming.places
        ]
        if (count := sum(map(bool, rows))) > most:
            best, most = rows, count
        if most == naming.rows:
            break
    if not most:
        return Located()
    places = frozenset(place for row in best for place in row)
    return Located(tuple(sorted(patterns_of(naming, best, most, evidence))), most, places)


def patterns_of(naming: Naming, rows: list[list[int]], most: int, evidence: Evidence) -> set[str]:
    """The patterns that name an image for each row that has one; else the one that names the most."""
    homes = [
        {home_of(evidence.images[place], value) for place in row} for value, row in zip(naming.values, rows)
    ]
    counts = Counter(home for row in homes for home in row)
    end = "" if is_exact(naming, rows, evidence) else ".*"
    whole = [home for home, count in counts.items() if count == most]
    is_single = sum(len(row) == 1 for row in rows) >= 0.98 * most
    nearly = [home for home, count in counts.items() if count >= 0.98 * most]
    if not whole and (is_single or not nearly):  # each has an image, but not all in one folder
        if None in counts or (naming.is_path and any("/" in value for value in naming.values[:100])):
            return {naming.cell + end}
        return {f"{common_folder([home or '' for home in counts])}**/{naming.cell}{end}"}
    whole = whole or nearly
    if len(whole) > 1:
        whole = usual(whole, rows, evidence) or whole
    patterns = set()
    for home in whole:
        ends = suffixes_in(home, naming, rows, most, evidence) if end else []
        patterns |= {f"{home or ''}{naming.cell}{one}" for one in ends or [end]}
    return patterns


def suffixes_in(
    home: str | None, naming: Naming, rows: list[list[int]], most: int, evidence: Evidence
) -> list[str]:
    """The suffixes that nearly all images of the folder have, where a.jpg and a.png lie side by side."""
    if all(len(row) < 2 for row in rows):
        return []
    counts: Counter[str] = Counter()
    num_rows = 0
    for value, row in zip(naming.values, rows):
        files = [evidence.images[place] for place in row]
        suffixes = {posixpath.splitext(file)[1] for file in files if home_of(file, value) == home}
        counts.update(suffixes)
        num_rows += bool(suffixes)
    if counts.total() == num_rows:
        return []
    return [suffix for suffix, count in counts.items() if count >= 0.98 * most]


def home_of(file: str, value: str) -> str | None:
    """What stands before the value in the file's path, such as "train/"; None where the value has a folder
    that the path lacks.
    """
    if "/" not in value and "\\" not in value:
        return file[: file.rfind("/") + 1]
    wanted = clean(value)
    length = common_tail(clean(file).casefold(), wanted.casefold())
    return (
        "".join(f"{name}/" for name in file.split("/")[:-length])
        if length == len(wanted.split("/"))
        else None
    )


def is_exact(naming: Naming, rows: list[list[int]], evidence: Evidence) -> bool:
    """Do the cells have their files' suffixes?"""
    if naming.prefix or naming.suffix or naming.width:
        return False
    pairs = [(value, row) for value, row in zip(naming.values, rows) if row]
    return all(
        any(
            evidence.index.paths[place].endswith(posixpath.basename(clean(value).casefold())) for place in row
        )
        for value, row in pairs
    )


def usual(homes: list[str | None], rows: list[list[int]], evidence: Evidence) -> list[str | None]:
    """Where the same pictures lie as JPEG or PNG and in a format that few programs open: the first."""
    suffixes = {
        home: {
            posixpath.splitext(evidence.images[place])[1].lower()
            for row in rows[:50]
            for place in row
            if evidence.images[place].startswith(home or "")
        }
        for home in homes
    }
    plain = [home for home in homes if suffixes[home] <= {".jpg", ".jpeg", ".png", ".webp"}]
    return plain if len(plain) < len(homes) else []


def common_folder(homes: list[str]) -> str:
    return posixpath.join(posixpath.commonpath(homes), "") if all(homes) else ""
