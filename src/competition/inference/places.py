"""Which images the rows of a part name, and by which pattern."""

import posixpath
from difflib import SequenceMatcher

from src.competition.inference.advice import Unclear
from src.competition.inference.evidence import Evidence, Naming, Table
from src.competition.inference.no_images import no_image_named
from src.competition.inference.patterns import Located, located
from src.competition.messages import listed, state


def find_images(
    table: Table, ev: Evidence, part: str, id: str, taken: frozenset[int], notes: list[str]
) -> Located:
    """Where the part's images lie. The id names them, or a path that stands beside it, which is noted where
    both name different ones. Raises Unclear.
    """
    namings = {
        name: naming
        for name, naming in table.namings.items()
        if naming.column != id or id == "id" or "id" not in table.namings  # else `id` repeats it
    }
    places = {name: located(naming, ev, part, taken) for name, naming in namings.items()}
    if part == "train" and taken and all(place.rows < 0.5 * len(table.frame) for place in places.values()):
        # also the test's: make_train says which
        places = {name: located(naming, ev, part) for name, naming in namings.items()}
    most = max((place.rows for place in places.values()), default=0)
    if not most:
        raise no_image_named(table, ev, part)
    full = [name for name, place in places.items() if place.rows >= 0.9 * most]
    most_images = max(namings[name].images for name in full)
    full = [name for name in full if namings[name].images >= 0.5 * most_images]
    own = [name for name in full if namings[name].column == "id"]
    paths = [name for name in full if namings[name].is_path]

    def differ(one: str, other: str) -> bool:
        return disagree(namings[one], namings[other], places[one], places[other])

    is_elsewhere = bool(own and paths) and "id" not in paths and differ(own[0], paths[0])
    if is_elsewhere:
        notes.append(
            f"{part}: {id!r} and {paths[0]!r} name different images: the images are those of {paths[0]!r}"
        )
    chosen = (paths if is_elsewhere else own) or paths or full
    kept: list[str] = []
    for name in chosen:  # columns that name the same images count once
        if all(differ(name, other) for other in kept):
            kept.append(name)
    if len(kept) > 1:
        patterns = sorted(pattern for name in kept for pattern in places[name].patterns)
        return Located(tuple(patterns), most, frozenset().union(*(places[name].places for name in kept)))
    naming = namings[kept[0]]
    if naming.prefix or naming.suffix:
        notes.append(f"{part}: the files are called {naming.prefix}{{{naming.column}}}{naming.suffix}")
    return places[kept[0]]


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
        ratios = [SequenceMatcher(None, one.replace("test", "train"), like).ratio() for one in patterns]
        patterns = [one for one, ratio in zip(patterns, ratios) if ratio > max(ratios) - 0.02]
    if len(patterns) > 1:
        raise Unclear(
            f"which {part} images? The same names are found as {listed(patterns)}: "
            + state(f"{part}_images"),
            *({f"{part}_images": pattern} for pattern in patterns),
        )
    return patterns[0]
