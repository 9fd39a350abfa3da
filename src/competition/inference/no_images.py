"""What to say, and what to try, where no image is found."""

import posixpath
import re
from collections import Counter

from src.competition.inference.advice import Code, Statement, Unclear
from src.competition.inference.arrays import stacked
from src.competition.inference.evidence import Evidence, Table, part_of
from src.competition.listing import dead_links, packed
from src.competition.messages import listed, state
from src.competition.reshape import is_pixel

MANY_PARTS = 9  # Training, PublicTest, PrivateTest


def no_images(ev: Evidence) -> Unclear:
    """There is no image at all."""
    kinds = Counter(posixpath.splitext(file)[1].lower() or "without a suffix" for file in ev.files)
    there = listed([f"{number} {kind}" for kind, number in kinds.most_common()]) or "nothing"
    archives = packed(ev.files)
    still = f"Still packed ({listed(archives)})?" if archives else "Still packed?"
    return Unclear(
        f"no image in {ev.root}, there is {there}.{lost_links(ev)} {still} Then `make data"
        f" COMP={ev.root.name}`. Of another format, or pixels in a csv? Then"
        f" {state('a read_image (and make_table)')}",
        *other_formats(ev),
    )


def no_image_named(table: Table, ev: Evidence, part: str) -> Unclear:
    """No id of a part names an image."""
    own = [file for file, its in zip(ev.images, ev.parts) if its == part]
    ids = table.frame["id"] if "id" in table.frame else table.frame.iloc[:, 0]
    archives = f": {listed(packed(ev.files))}" if packed(ev.files) else ""
    example = (own or ev.images or ["none"])[0]
    make = "make_test" if part == "test" else "make_table"
    return Unclear(
        f"none of {len(ids)} {part} ids ({listed(list(ids[:3]))} ...) names an image; of {len(ev.images)}"
        f" images ({example} ...) {len(own)} lie in a folder named {part}.{lost_links(ev)} Is it empty, or"
        f" still packed{archives} (then `make data COMP=...` unpacks it)? Else "
        + state(f"{part}_images, or a {make} that adds a column path,")
    )


def lost_links(ev: Evidence) -> str:
    links = dead_links(ev.root)
    return f" {len(links)} links lead to nothing, such as {links[0]}." if links else ""


def other_formats(ev: Evidence) -> list[Statement]:
    """Statements for files that are no pictures: DICOM, arrays, and tables of pixels."""
    counted = count_of(ev)
    if any(file.lower().endswith((".dcm", ".dicom")) for file in ev.files):
        return [{"read_image": Code("read_dicom")}]
    if any(file.lower().endswith((".npy", ".npz")) for file in ev.files):
        own = (
            [{"read_image": Code("reshape.npy")}]
            if any(file.lower().endswith(".npy") for file in ev.files)
            else []
        )
        return stacked(ev, counted) + own
    wide = [file for file, problem in ev.skipped.items() if "as pixels have" in problem]
    tables = [table for table in ev.tables if has_pixels(table)]
    wide += [table.file for table in tables]
    test = sorted(file for file in wide if "test" in file.lower())
    train = sorted({*wide} - {*test})
    pairs = [
        (f"reshape.pixels(root, {one!r})", f"reshape.pixels(root, {other!r}{counted})")
        for one in train
        for other in test
    ]
    pairs += [pair for table in tables for pair in pixels_of_parts(table)]
    return [
        {
            "make_table": Code(f"lambda root: {one}"),
            "make_test": Code(f"lambda root: {other}"),
            "read_image": Code("reshape.read_pixels"),
        }
        for one, other in pairs
    ]


def has_pixels(table: Table) -> bool:
    num_pixels = sum(is_pixel(name) for name in table.frame)
    return "pixels" in table.frame or num_pixels > 0.7 * len(table.frame.columns)


def pixels_of_parts(table: Table) -> list[tuple[str, str]]:
    """Code for the training and the test images, for each column that tells them apart."""
    pairs = []
    for column in table.frame:
        values = table.frame[column].unique() if not is_pixel(column) else []
        parts = {part: [one for one in values if part_of(one) == part] for part in ("train", "test")}
        if 2 <= len(values) <= MANY_PARTS and all(parts.values()):
            one, other = (
                f"reshape.chosen(reshape.pixels(root, {table.file!r}), **{{{column!r}: {tuple(names)!r}}})"
                for names in parts.values()
            )
            pairs.append((one, other))
    return pairs


def count_of(ev: Evidence) -> str:
    """The argument that counts images as the sample's first column does; "" where it holds no numbers."""
    sample = next((table for table in ev.tables if re.search(r"sampl|submi", table.name)), None)
    if not sample or not sample.frame.iloc[0, 0].isdecimal():
        return ""
    return f", **{{{sample.frame.columns[0]!r}: {int(sample.frame.iloc[0, 0])}}}"
