"""Checks of the image files: what can't be read, what is read otherwise than one would think, and how sizes
suit the network.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from src.extras.audit.dataset import Dataset
from src.extras.findings import Finding, count, fail, good, some, warn

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "TIFF": (".tif", ".tiff"),
    "PNG": (".png", ".apng"),
}
KNOWN_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes} | {".bmp", ".webp", ".gif"}
READER = "write a read_image in src/competitions.py"
FEW = 0.01  # of the images or of a picture: less is reported, and not worth a warning


def readable(data: Dataset) -> Iterator[Finding]:
    """Images that stop the training, or that get no real prediction."""
    error = data.facts["error"].astype(object).fillna("")
    is_empty = (data.images["bytes"] == 0).to_numpy()
    is_cut = (
        error.str.contains("truncated|broken|premature|unexpected end", case=False).to_numpy() & ~is_empty
    )
    is_other = (error != "").to_numpy() & ~is_empty & ~is_cut
    for name, bad in (("zero-size", is_empty), ("truncated", is_cut), ("unreadable", is_other)):
        train, test = bad & data.is_train, bad & ~data.is_train
        if train.any():
            reason = error[train].iloc[0] or "no bytes"
            seen = f"{listed(data, train, 'training image')}: {reason}; the training would stop there"
            yield fail(seen, 'replace the files, or leave them out: SET="bad_images=drop"', name)
        if test.any():
            reason = error[test].iloc[0] or "no bytes"
            seen = (
                f"{listed(data, test, 'test image')}: {reason}; the submission gets an average answer there"
            )
            yield warn(seen, "download the files again", name)
    if not (is_empty | is_cut | is_other).any():
        num_known, total = int(data.facts["error"].notna().sum()), len(data.facts)
        others = "" if num_known == total else "; make audit opens the others"
        yield good(f"{num_known} of {total} images are known to be whole{others}")


def listed(data: Dataset, chosen: np.ndarray, noun: str = "image") -> str:
    return f"{count(chosen.sum(), noun)} ({some(data.images['path'][chosen], 10)})"


def formats(data: Dataset) -> Iterator[Finding]:
    """What loading changes in a picture: a line per kind, a warning where something is lost."""
    facts, largest, transparent = data.facts, data.number("largest"), data.number("transparent")
    is_deep = facts["is_deep"].eq(True)
    is_dark = is_deep & (largest > 255) & (largest < 2**14)  # 12 bits of a camera, say
    findings = []

    def add(name: str, chosen: pd.Series, effect: str, change: str = "") -> None:
        if chosen.any():
            seen = f"{listed(data, chosen.to_numpy())}: {effect}"
            findings.append(warn(seen, change, name) if change else good(seen, check=name))

    top, share = f"{largest[is_dark].max():.0f}", f"{transparent.max():.0%}"
    effect = f"loading maps 0..65535 to 0..255, but the largest value is {top}: dark, few levels left"
    add("16-bit", is_dark, effect, f"{READER} that divides by the largest value")
    effect = f"loading ignores transparency and shows what lies beneath it (up to {share} of a picture)"
    add("alpha", transparent > FEW, effect, f"{READER} that pastes onto a background")
    change = f"{READER} that takes the frame you want, or all"
    add("animated", data.number("frames") > 1, "the first frame alone is loaded", change)
    effect = "read by their content, so nothing is lost here; other programs trust the suffix"
    add("extension", has_wrong_suffix(data), effect, "rename them")
    add("16-bit", is_deep & ~is_dark, "loaded with 8 bits")
    add("alpha", transparent <= FEW, "hardly a transparent pixel; alpha is ignored")
    add("cmyk", facts["mode"].eq("CMYK"), "turned to RGB without a colour profile")
    add("exif", facts["is_turned"].eq(True), "stored turned or mirrored; loaded upright")
    modes = facts["mode"].dropna().value_counts()
    if not findings and len(modes):
        findings = [good("plain 8-bit pictures: " + ", ".join(f"{n} {mode}" for mode, n in modes.items()))]
    yield from findings


def has_wrong_suffix(data: Dataset) -> pd.Series:
    """Is the content of another format than the suffix says? A name without a known suffix says nothing."""

    def is_wrong(path: str, format: object) -> bool:
        suffix = Path(path).suffix.lower()
        if not isinstance(format, str) or suffix not in KNOWN_SUFFIXES:
            return False
        return suffix not in SUFFIXES.get(format, (f".{format.lower()}",))

    return pd.Series([is_wrong(path, name) for path, name in zip(data.images["path"], data.facts["format"])])


def shapes(data: Dataset) -> Iterator[Finding]:
    """The pictures' sizes beside the network's; long pictures are squashed; one colour shows nothing."""
    size, width, height = data.config.image_size, data.number("width"), data.number("height")
    if not width.notna().any():
        return
    short = np.minimum(width, height)
    median = f"{width.median():.0f} x {height.median():.0f}"
    sides = f"short sides {short.min():.0f} to {short.max():.0f}"
    seen = f"median {median} pixels, {sides}; the network sees image_size={size}"
    if short.median() > 4 * size:
        change = f'try SET="image_size={2 * size}"'
        yield warn(f"{seen}: most are shrunk so much that small things vanish", change)
    else:
        yield good(seen)
    is_long = (np.maximum(width / height, height / width) >= 4).to_numpy()
    if is_long.any():
        squashed = f"{listed(data, is_long)}: longer than 4:1, squashed to a square"
        if is_long.mean() > FEW:
            yield warn(squashed, f"{READER} that crops or pads them", "aspect")
        else:
            yield good(squashed, check="aspect")
    change = "a placeholder for a lost picture? Replace the files, or take their rows out of the csv"
    for name, chosen, description in (
        ("blank", data.number("spread") < 1, "of one colour"),
        ("tiny", short < 8, "less than 8 pixels wide or high"),
    ):
        if chosen.any():
            yield warn(f"{listed(data, chosen.to_numpy())}: {description}", change, name)


FILES = {"images": readable, "formats": formats, "shapes": shapes}
