"""Which images the rows of a part name, and by which pattern."""

import posixpath
from difflib import SequenceMatcher

from src.competition.inference.advice import Unclear
from src.competition.inference.evidence import Evidence, Naming, Table
from src.competition.inference.patterns import Located, located
from src.competition.listing import dead_links, packed
from src.competition.messages import listed, state


def find_images(
    table: Table, ev: Evidence, part: str, id: str, taken: frozenset[int], notes: list[str]
) -> Located:
    """Where the part's images lie. The id names them, or a path that stands beside it, which is said where
    both name different ones.
    """
    namings = {
        name: one
        for name, one in table.namings.items()
        if one.column != id or id == "id" or "id" not in table.namings
    }
    places = {name: located(naming, ev, part, taken) for name, naming in namings.items()}
    if part == "train" and taken and all(place.rows < 0.5 * len(table.frame) for place in places.values()):
        places = {
            name: located(naming, ev, part) for name, naming in namings.items()
        }  # also the test's: make_train says which
    most = max((place.rows for place in places.values()), default=0)
    full = {name: place for name, place in places.items() if place.rows >= 0.9 * most and most}
    if not full:
        raise nothing_found(table, ev, part)
    most_images = max(namings[name].images for name in full)
    several = {name: namings[name] for name in full if namings[name].images >= 0.5 * most_images}
    own = [name for name in several if several[name].column == "id"]
    paths = [name for name in several if several[name].is_path]
    if own and (
        not paths
        or "id" in paths
        or not disagree(several[own[0]], several[paths[0]], full[own[0]], full[paths[0]])
    ):
        chosen = own
    elif own and paths:
        notes.append(
            f"{part}: {id!r} and {paths[0]!r} name different images: the images are those of {paths[0]!r}"
        )
        chosen = paths
    else:
        chosen = paths or list(several)
    kept: list[str] = []
    for name in chosen:  # columns that name the same images count once
        if all(disagree(several[name], several[other], full[name], full[other]) for other in kept):
            kept.append(name)
    chosen = kept
    if len(chosen) > 1:
        patterns = sorted(pattern for name in chosen for pattern in full[name].patterns)
        return Located(tuple(patterns), most, frozenset().union(*(full[name].places for name in chosen)))
    naming = several[chosen[0]]
    if naming.prefix or naming.suffix:
        notes.append(f"{part}: the files are called {naming.prefix}{{{naming.column}}}{naming.suffix}")
    return full[chosen[0]]


def disagree(one: Naming, other: Naming, its: Located, others: Located) -> bool:
    """Do two columns name different images in some row?"""
    return any(
        a and b and {*a} & its.places and {*b} & others.places and not {*a} & {*b}
        for a, b in zip(one.places, other.places)
    )


def only_pattern(where: Located, table: Table, ev: Evidence, part: str, like: str) -> str:
    """The only pattern; of several the one that is most like the training's; else a question."""
    patterns = list(where.patterns)
    if len(patterns) > 1 and like:
        home = like.rpartition("/")[0]  # where the training images of the same names lie
        patterns = [pattern for pattern in patterns if pattern.rpartition("/")[0] != home] or patterns
        suffix = posixpath.splitext(like)[1]
        patterns = [pattern for pattern in patterns if posixpath.splitext(pattern)[1] == suffix] or patterns
        alike = {
            pattern: SequenceMatcher(None, pattern.replace("test", "train"), like).ratio()
            for pattern in patterns
        }
        nearest = max(alike.values())
        patterns = [pattern for pattern in patterns if alike[pattern] > nearest - 0.02]
    if len(patterns) > 1:
        raise Unclear(
            f"which {part} images? The same names are found as {listed(patterns)}: "
            + state(f"{part}_images"),
            *({f"{part}_images": pattern} for pattern in patterns),
        )
    return patterns[0]


def nothing_found(table: Table, ev: Evidence, part: str) -> Unclear:
    own = [file for file, its in zip(ev.images, ev.parts) if its == part]
    ids = table.frame["id"] if "id" in table.frame else table.frame.iloc[:, 0]
    dead = (
        f" {len(links)} links lead to nothing, such as {links[0]}." if (links := dead_links(ev.root)) else ""
    )
    archives = f": {listed(packed(ev.files))}" if packed(ev.files) else ""
    return Unclear(
        f"none of {len(ids)} {part} ids ({listed(list(ids[:3]))} ...) names an image; of {len(ev.images)}"
        f" images ({', '.join((own or ev.images)[:1]) or 'none'} ...) {len(own)} lie in a folder named"
        f" {part}.{dead} Is it empty, or still packed{archives} (then `make data COMP=...` unpacks it)? Else "
        + state(
            f"{part}_images, or a {'make_test' if part == 'test' else 'make_table'} that adds a column path,"
        )
    )
