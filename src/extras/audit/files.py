"""Checks of the image files: what can't be read, what is read otherwise than one would think, and what
loading does with each.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from src.extras.audit.case import Case
from src.extras.findings import Finding, fail, good, some, warn

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "TIFF": (".tif", ".tiff"),
    "PNG": (".png", ".apng"),
}
READER = "write read_image in src/competitions.py"
FEW = 0.01  # of the images: what fewer do is told, and not worth a warning


def readable(case: Case) -> Iterator[Finding]:
    """Images that stop the training, or whose prediction is none."""
    error = case.facts["error"].astype(object).fillna("")
    empty = (case.images["bytes"] == 0).to_numpy()
    torn = error.str.contains("truncated|broken|premature|unexpected end", case=False).to_numpy() & ~empty
    other = (error != "").to_numpy() & ~empty & ~torn
    for name, bad in (("zero-size", empty), ("truncated", torn), ("unreadable", other)):
        train, test = bad & case.is_train, bad & ~case.is_train
        if train.any():
            yield fail(
                f"training images {listed(case, train)} ({error[train].iloc[0] or 'no bytes'}): the training"
                " stops at them",
                'replace the files, or SET="bad_images=drop" leaves them out',
                name,
            )
        if test.any():
            yield warn(
                f"test images {listed(case, test)} ({error[test].iloc[0] or 'no bytes'}): they get an average"
                " answer",
                "fetch the files again",
                name,
            )
    if not (empty | torn | other).any():
        yield good(opened(case))


def listed(case: Case, chosen: np.ndarray) -> str:
    return f"{chosen.sum()}: {some(case.images['path'][chosen], 10)}"


def opened(case: Case) -> str:
    known, total = int(case.facts["error"].notna().sum()), len(case.facts)
    return f"{known} of {total} images are known to be whole" + (
        "" if known == total else "; make audit opens the others"
    )


def formats(case: Case) -> Iterator[Finding]:
    """What loading changes in a picture: a line for each kind that is there, a warning where something is
    lost.
    """
    facts = case.facts
    clear, top, deep = pd.to_numeric(facts["clear"]), pd.to_numeric(facts["top"]), facts["deep"].eq(True)
    is_dark = deep & (top > 255) & (top < 2**14)  # 12 bits of a camera, say
    lossy = {
        "16-bit": (
            is_dark,
            (
                f"loading maps 0..65535 to 0..255, but the largest value is {top[is_dark].max():.0f}: dark,"
                " few levels left"
            ),
            f"{READER} that divides by the largest value",
        ),
        "alpha": (
            clear > FEW,
            (
                f"loading ignores transparency and shows what lies beneath it (up to {clear.max():.0%} of a"
                " picture)"
            ),
            f"{READER} that pastes onto a background",
        ),
        "animated": (
            pd.to_numeric(facts["frames"]) > 1,
            "the first frame alone is loaded",
            f"{READER} that takes the frame you want, or all",
        ),
        "extension": (
            wrong_suffix(case),
            "read by their content, so nothing is lost here; other programs trust the suffix",
            "rename them",
        ),
    }
    harmless = {
        "16-bit": (deep & ~is_dark, "loaded with 8 bits"),
        "alpha": (clear <= FEW, "hardly a transparent pixel; alpha is ignored"),
        "cmyk": (facts["mode"].eq("CMYK"), "turned to RGB without a colour profile"),
        "exif": (facts["turned"].eq(True), "stored turned or mirrored; loaded upright"),
    }
    found = [
        warn(f"{listed(case, chosen.to_numpy())}: {does}", change, name)
        for name, (chosen, does, change) in lossy.items()
        if chosen.any()
    ]
    found += [
        good(f"{listed(case, chosen.to_numpy())}: {does}", check=name)
        for name, (chosen, does) in harmless.items()
        if chosen.any()
    ]
    modes = facts["mode"].dropna().value_counts()
    if not found and len(modes):
        found = [good("plain 8-bit pictures: " + ", ".join(f"{n} {mode}" for mode, n in modes.items()))]
    yield from found


def wrong_suffix(case: Case) -> pd.Series:
    """Whose content is of another format than the suffix says; a name without a suffix says nothing."""
    known = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes} | {".bmp", ".webp", ".gif"}

    def is_wrong(path: str, format: object) -> bool:
        suffix = Path(path).suffix.lower()
        return (
            isinstance(format, str)
            and suffix in known
            and suffix not in SUFFIXES.get(format, (f".{format.lower()}",))
        )

    return pd.Series(
        [is_wrong(path, format) for path, format in zip(case.images["path"], case.facts["format"])]
    )


def shapes(case: Case) -> Iterator[Finding]:
    """Sizes beside the size that the network sees; long pictures are squashed; a picture of one colour shows
    nothing.
    """
    facts, size = case.facts, case.config.image_size
    wide, high = pd.to_numeric(facts["width"]), pd.to_numeric(facts["height"])
    if not wide.notna().any():
        return
    long, small = np.maximum(wide / high, high / wide), np.minimum(wide, high)
    seen = (
        f"in the middle {wide.median():.0f} x {high.median():.0f} pixels, short sides {small.min():.0f} to"
        f" {small.max():.0f}, image_size={size}"
    )
    if small.median() > 4 * size:
        yield warn(
            f"{seen}: most are shown far smaller than they are, and small things vanish",
            f'try SET="image_size={2 * size}"',
        )
    else:
        yield good(seen)
    placeholder = "a placeholder for a lost picture? Take the rows out, or replace the files"
    extreme, blank, tiny = (
        (long >= 4).to_numpy(),
        (pd.to_numeric(facts["spread"]) < 1).to_numpy(),
        (small < 8).to_numpy(),
    )
    if extreme.any():
        squashed = f"{listed(case, extreme)}: longer than 4:1, squashed to a square"
        yield (
            warn(squashed, f"{READER} that crops or pads them", "aspect")
            if extreme.mean() > FEW
            else good(squashed, check="aspect")
        )
    if blank.any():
        yield warn(f"{listed(case, blank)}: of one colour", placeholder, "blank")
    if tiny.any():
        yield warn(f"{listed(case, tiny)}: less than 8 pixels wide or high", placeholder, "tiny")


FILES = {"images": readable, "formats": formats, "shapes": shapes}
