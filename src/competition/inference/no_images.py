"""What to say, and what to try, where no image is found."""

import posixpath
import re
from collections import Counter

from src.competition.inference.advice import Code, Statement, Unclear
from src.competition.inference.arrays import stacked
from src.competition.inference.evidence import Evidence, Table
from src.competition.listing import dead_links, packed
from src.competition.messages import listed, state
from src.competition.reshape import is_pixel


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
        return [*stacked(ev, counted), {"read_image": Code("reshape.npy")}]
    wide = [file for file, problem in ev.skipped.items() if "as pixels have" in problem]
    for table in ev.tables:
        num_pixels = sum(is_pixel(name) for name in table.frame)
        if "pixels" in table.frame or num_pixels > 0.7 * len(table.frame.columns):
            wide.append(table.file)
    train = sorted(file for file in wide if "test" not in file.lower())
    test = sorted(file for file in wide if "test" in file.lower())
    if not train or not test:
        return []
    return [
        {
            "make_table": Code(f"lambda root: reshape.pixels(root, {train[0]!r})"),
            "make_test": Code(f"lambda root: reshape.pixels(root, {test[0]!r}{counted})"),
            "read_image": Code("reshape.read_pixels"),
        }
    ]


def count_of(ev: Evidence) -> str:
    """The argument that counts images as the sample's first column does; "" where it holds no numbers."""
    sample = next((table for table in ev.tables if re.search(r"sampl|submi", table.name)), None)
    if not sample or not sample.frame.iloc[0, 0].isdecimal():
        return ""
    return f", **{{{sample.frame.columns[0]!r}: {int(sample.frame.iloc[0, 0])}}}"
